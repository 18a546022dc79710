"""A record that a stranger has written runs no code."""

import os
from pathlib import Path

import pytest

import src
from src.errors import UserError
from src.inference.trust import check_trusted
from tests.helpers.commands import Command
from tests.helpers.runs import renamed, the_run

TRIPWIRE = "from pathlib import Path\nPath({!r}).touch()\nfrom torch import nn\nclass Net(nn.Linear): pass\n"


@pytest.mark.parametrize("place", ["deep.inside.stranger.Net", "json.tool.Net"])
def test_the_network_of_a_record_is_not_imported(
    place: str, train: Command, command: Command, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("data=digits", "model=mlp", "epochs=1").returncode == 0
    package = tmp_path / "code"
    file = package.joinpath(*place.split(".")[:-1]).with_suffix(".py")
    file.parent.mkdir(parents=True)
    if "stranger" in place:
        file.write_text(TRIPWIRE.format(str(tmp_path / "tripped")))
    monkeypatch.syspath_prepend(package)
    run = renamed(the_run(outputs), {"model": {"_target_": place, "in_features": 4, "out_features": 2}})
    commands = {"predict": [tmp_path], "evaluate": [], "export": [tmp_path / "a.pt2"]}
    for name, more in commands.items():
        ended = command(name, run, *more, PYTHONPATH=str(package))
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert f"its run.json names {place}, so " in line
        assert "would be run; if you trust it, add trust=true" in line
        assert str(file) in line or "stranger" not in place
    with pytest.raises(UserError, match="if you trust it"):
        src.load(run)
    assert not (tmp_path / "tripped").exists()
    trusted = command("evaluate", run, "trust=true", PYTHONPATH=str(package))
    assert trusted.returncode == 2  # its weights do not fit, or there is no such class
    assert (tmp_path / "tripped").exists() == ("stranger" in place)


def test_nor_are_its_data(train: Command, command: Command, outputs: Path, tmp_path: Path) -> None:
    assert train("data=digits", "model=mlp", "epochs=1").returncode == 0
    (tmp_path / "stranger.py").write_text(TRIPWIRE.format(str(tmp_path / "tripped")))
    source = {"_target_": "stranger.Net"}
    run = renamed(the_run(outputs), {"data": "mine", "source": source})
    ended = command("evaluate", run, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2
    assert f"names stranger.Net, so {tmp_path / 'stranger.py'} would be run; if you trust it" in ended.stderr
    assert not (tmp_path / "tripped").exists()
    command("evaluate", run, "trust=true", PYTHONPATH=str(tmp_path))
    assert (tmp_path / "tripped").exists()


def test_what_conf_names_is_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / "pipe.yaml")
    (tmp_path / "model" / "mine.yaml").write_text("# mine\n_target_: 'mine.Net' # here\nwidth: 3\n")
    monkeypatch.setattr("src.inference.trust.CONF", str(tmp_path))
    for name in ("mine.Net", "torch.nn.Linear", "torchvision.models.ResNet", "src.models.MLP"):
        check_trusted(name, tmp_path)
    others: list[object] = ["mine.Other", "torchy.Net", "", None, ["mine.Net"]]
    for other in others:
        with pytest.raises(UserError, match="if you trust it"):
            check_trusted(other, tmp_path)
