"""`best` among runs of several data files and versions of the user's own code."""

from pathlib import Path

import pytest

from src.errors import UserError
from src.inference.find import best
from tests.reporting.synthetic import cell

SESSION = {"began": "2026-01-01T00:00:00+00:00", "device": "cpu"}


def test_runs_of_other_code_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (current,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    cell(tmp_path, "sgd", 64, 0.5, [0.99], sessions=[SESSION | {"code": "0" * 16}])
    assert best([], tmp_path) == current.directory
    assert "best: left out 1 run trained by other code than the current one" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"^best lr=0.5: 1 run found, trained by other code"):
        best(["lr=0.5"], tmp_path)


def test_two_files_of_one_name_are_two_data_sets(tmp_path: Path) -> None:
    (one,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    data = one.record()["data"] | {"sha256": "b" * 64}
    (other,) = cell(tmp_path, "sgd", 64, 0.5, [0.8])
    other.update(data=data)
    with pytest.raises(
        UserError, match=r"on 2 data files named mnist, .* aaaaaaaa, bbbbbbbb; add data.sha256=aaaaaaaa"
    ):
        best([], tmp_path)
    assert best(["data.sha256=bbbb"], tmp_path) == other.directory
