"""The command `python -m src.evaluate`."""

import json
import re
from pathlib import Path

import pytest

from src.data.datasets import load
from src.inference.trained import load_network
from src.runs.directory import Run
from src.training.evaluation import figures_on_test
from tests.helpers.commands import Command, own_choice
from tests.helpers.groups import runs_in
from tests.helpers.images import write_mnist, write_npz
from tests.helpers.runs import the_run

NORMED = (
    "from torch import nn\n"
    "class Net(nn.Sequential):\n"
    "    def __init__(self):\n"
    "        super().__init__(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 10))\n"
)


def assert_equals_its_record(run: Path, small_mnist: Path) -> None:
    record = Run(run).record()
    loss, accuracy = figures_on_test(
        load_network(run, trust=True).network, load("mnist", str(small_mnist)), record["data"]
    )
    assert (loss, accuracy) == (record["figures"]["test_loss"], record["figures"]["test_accuracy"])


@pytest.mark.parametrize("model", ["lenet", "mlp"])
def test_figures_equal_the_records(model: str, train: Command, outputs: Path, small_mnist: Path) -> None:
    assert train(f"model={model}", "epochs=2", "lr=0.01").returncode == 0
    assert_equals_its_record(the_run(outputs), small_mnist)


def test_batch_statistics(
    train: Command, outputs: Path, small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = own_choice(tmp_path, "model/normed", "_target_: normed.Net\n", NORMED)
    ended = train(*found, "model=normed", "epochs=2", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    monkeypatch.syspath_prepend(tmp_path)
    assert_equals_its_record(the_run(outputs), small_mnist)


def test_runs_of_a_group(train: Command, outputs: Path, small_mnist: Path) -> None:
    ended = train("-m", "model=lenet,mlp", "seed=0,1", "lr=0.01,0.001", "epochs=2", "hydra.launcher.vectorize=true")
    assert ended.returncode == 0, ended.stderr
    runs = [outputs / run for run in runs_in(outputs)]
    assert len(runs) == 8
    for run in runs:
        assert Run(run).record()["sessions"][0]["group_size"] == 4
        assert_equals_its_record(run, small_mnist)


def test_several_runs_in_a_table(train: Command, command: Command, outputs: Path, tmp_path: Path) -> None:
    assert train("-m", "model=mlp", "epochs=2", "lr=0.01,0.001").returncode == 0
    shown = command("evaluate", "lr0.01-", "best", "lr=0.001")
    assert shown.returncode == 0, shown.stderr
    for run in runs_in(outputs):
        figures = Run(outputs / run).record()["figures"]
        loss, accuracy = f"{figures['test_loss']:.4f}", f"{figures['test_accuracy']:.2%}"
        assert re.search(rf"│ +80 │ +{loss} │ +{loss} │ +{accuracy} │ +{accuracy} │", shown.stdout)
    assert re.search(r"best lr=0.001: .*/mnist/mlp/.*lr0.001.*/, .*% on the test set, of 1 run\n", shown.stdout)

    write_mnist(tmp_path / "other", test=50, name="KMNIST")
    other = command("evaluate", "lr0.01-", "data=kmnist", f"data_root={tmp_path / 'other'}")
    assert re.search(r"│ +50 │ +\d\.\d{4} │ +- │ +\d+\.\d\d% │ +- │", other.stdout), other.stderr


def test_images_of_ones_own_are_found_where_they_were(train: Command, command: Command, tmp_path: Path) -> None:
    file = write_npz(tmp_path / "my.npz", (3, 20, 24))
    assert train("data=arrays", f"data.path={file}", "model=mlp", "epochs=1").returncode == 0
    assert "│     70 │" in command("evaluate", "my/mlp").stdout
    file.rename(tmp_path / "moved.npz")
    assert "my.npz: does not exist" in command("evaluate", "my/mlp").stderr
    assert "│     70 │" in command("evaluate", "my/mlp", f"data.path={tmp_path / 'moved.npz'}").stdout
    other = command("evaluate", "my/mlp", "data=mnist")
    assert other.returncode == 2
    assert "data=mnist: its images are of 1 x 28 x 28 in 10 classes, and " in other.stderr
    assert other.stderr.endswith("was trained on 3 x 20 x 24 in 7 classes\n")


def test_mistakes_are_told_in_one_line(train: Command, command: Command, outputs: Path) -> None:
    assert train("-m", "model=mlp", "epochs=1", "lr=0.01,0.001").returncode == 0
    for arguments, says in {
        ("nothing",): "nothing: is neither the folder of a run nor a part of one's name in",
        ("mlp",): "mlp: is part of the names of 2 runs: mnist/mlp/adam-bs64-lr0.001-seed0-",
        ("best", "model=lenet"): "best model=lenet: there is no such finished run in",
        ("best", "colour=red"): "colour=red: no run has this setting; they have augment, batch_size, data",
        ("lr0.01-", "data=cifar"): "data=cifar: must be one of: auto, mnist",
        ("lr0.01-", "epochs=3"): "epochs=3: there is no such option; options are data, data.path",
        ("--all",): "--all: options have no dashes",
        ("data=mnist",): "no run is named",
    }.items():
        ended = command("evaluate", *arguments)
        assert ended.returncode == 2
        assert says in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_the_best_is_chosen_by_validation_images_if_any_are_held_out(
    train: Command, command: Command, outputs: Path
) -> None:
    common = "-m", "model=mlp", "epochs=1"
    assert train(*common, "lr=0.01,1e-6", "data.validation=50").returncode == 0
    assert train(*common, "lr=0.02").returncode == 0
    shown = command("evaluate", "best").stdout
    assert re.search(r"best: .*lr0.01-.*/, .*% on the validation set, of 2 runs\n", shown)
    for run in runs_in(outputs):
        file = outputs / run / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "diverged"}))
    assert "there is no such finished run" in command("evaluate", "best").stderr
