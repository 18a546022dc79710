"""The command `python -m src.train`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import REAL, ROOT, Command, environment, needs_mnist, own_choice
from tests.helpers.images import write_mnist
from tests.helpers.runs import assert_same, curve, the_run


def runs(outputs: Path) -> dict[str, dict[str, Any]]:
    """Return all records under an output directory, by the run directory's name without its hash."""
    files = outputs.rglob("run.json")
    return {file.parent.name[:-9]: json.loads(file.read_text()) for file in files}


def test_one_run_writes_all_its_files(train: Command, outputs: Path) -> None:
    ended = train("model=lenet", "optimizer=adam", "epochs=3", "lr=0.01", "data.validation=60", DRAWN="1")
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stderr.splitlines() if "not the published MNIST" not in line] == []
    run = the_run(outputs)
    assert run.parent == outputs / "mnist" / "lenet"
    assert run.name.startswith("adam-bs64-lr0.01-seed0-")
    record = json.loads((run / "run.json").read_text())
    rows = curve(run)

    assert record["status"] == "finished"
    sizes = {"train": 240, "validation": 60, "test": 80}
    assert record["data"] == {
        "name": "mnist",
        **sizes,
        "shape": [1, 28, 28],
        "classes": list("0123456789"),
        "mean": [0.5],
        "std": [0.5],
        **{key: record["data"][key] for key in ("brightness", "sha256", "largest_class")},
    }
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [int(row["updates"]) for row in rows] == [4, 8, 12]
    assert record["figures"]["updates"] == 12
    for split in ("train", "validation", "test"):
        assert float(rows[-1][f"{split}_loss"]) == record["figures"][f"{split}_loss"]
        assert float(rows[-1][f"{split}_accuracy"]) == record["figures"][f"{split}_accuracy"]
    assert float(rows[-1]["test_loss"]) < float(rows[0]["test_loss"]) < record["figures"]["initial_loss"]
    (session,) = record["sessions"]
    assert session["versions"]["torch"]
    assert session["machine"]["cores"]
    assert session["threads"] == 1
    assert (run / "error_figure.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (run / ".hydra").iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}

    lines = ended.stdout.splitlines()
    assert sum("epoch" in line and "ETA" in line for line in lines) == 3
    for expected in ("finished", "240 to train on, 60 held out, 80 to test on", "12 updates", str(run)):
        assert any(expected in line for line in lines), expected
    assert "\x1b" not in ended.stdout
    for noise in ("Tip", "GPU available", "Trainer.fit", "num_workers"):
        assert noise not in ended.stdout + ended.stderr


def test_a_finished_run_is_shown_and_not_repeated_unless_forced(train: Command, outputs: Path) -> None:
    command = ("model=mlp", "epochs=1")
    assert train(*command).returncode == 0
    files = {path: path.read_bytes() for path in the_run(outputs).rglob("*") if path.is_file()}
    again = train(*command, "threads=2", "device=cpu")
    assert again.returncode == 0
    assert "Trained already" in again.stdout
    assert "finished" in again.stdout
    assert {path: path.read_bytes() for path in the_run(outputs).rglob("*") if path.is_file()} == files

    forced = train(*command, "force=true")
    assert forced.returncode == 0
    assert "epoch 1/1" in forced.stdout
    assert len(json.loads((the_run(outputs) / "run.json").read_text())["sessions"]) == 1
    assert len(list(the_run(outputs).glob("events.out.tfevents.*"))) == 1


def test_a_run_alone_and_in_a_sweep_are_the_same(train: Command, tmp_path: Path) -> None:
    """Tested on LeNet, since a run alone shares its convolutions among the cores."""
    alone, swept = tmp_path / "alone", tmp_path / "swept"
    assert train("model=lenet", "epochs=2", "seed=1", f"output_dir={alone}").returncode == 0
    assert train("-m", "model=lenet,mlp", "epochs=2", "seed=0,1", f"output_dir={swept}").returncode == 0
    assert len(runs(swept)) == 2  # keyed by names without the model
    (twin,) = (swept / "mnist" / "lenet").glob("*seed1*")
    assert_same(the_run(alone), twin)


def test_the_sweep_of_the_readme(train: Command, outputs: Path) -> None:
    ended = train("-m", "optimizer=sgd,adagrad,adam", "lr=0.05,5e-4,5e-7", "model=mlp", "epochs=1")
    assert ended.returncode == 0, ended.stderr
    names = {
        f"{optimizer}-bs64-lr{lr}-seed0"
        for optimizer in ("sgd", "adagrad", "adam")
        for lr in ("0.05", "0.0005", "5e-07")
    }
    assert set(runs(outputs)) == names
    assert {record["status"] for record in runs(outputs).values()} <= {"finished", "diverged"}


def test_every_optimizer_learns_with_its_default_lr(train: Command, outputs: Path) -> None:
    optimizers = sorted(file.stem for file in (ROOT / "conf" / "optimizer").glob("*.yaml"))
    ended = train("-m", f"optimizer={','.join(optimizers)}", "model=lenet", "epochs=10", "batch_size=32")
    assert ended.returncode == 0, ended.stderr
    assert sorted(name.partition("-")[0] for name in runs(outputs)) == optimizers
    for record in runs(outputs).values():
        assert record["status"] == "finished"
        assert record["figures"]["test_accuracy"] > 0.9


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "cosine", "grow_batch"])
def test_every_schedule_is_followed_and_recorded(schedule: str, train: Command, outputs: Path) -> None:
    milestones = ["schedule.milestones=[2,3]", "schedule.factor=2"] if schedule in ("step", "grow_batch") else []
    ended = train(f"schedule={schedule}", "schedule.warmup=1", "model=mlp", "epochs=4", "lr=0.01", *milestones)
    assert ended.returncode == 0, ended.stderr
    rows = curve(the_run(outputs))
    factors = {
        "constant": [0.5, 1, 1, 1],
        "step": [0.5, 1, 0.5, 0.25],
        "exponential": [0.5, 1, 0.9, 0.81],
        "cosine": [0.5, 1, 0.75, 0.25],
        "grow_batch": [0.5, 1, 1, 1],
    }
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.01 * factor for factor in factors[schedule]])
    sizes, updates = ([64, 64, 128, 256], [5, 10, 13, 15]) if schedule == "grow_batch" else ([64] * 4, [5, 10, 15, 20])
    assert [int(row["batch_size"]) for row in rows] == sizes
    assert [int(row["updates"]) for row in rows] == updates


@pytest.mark.parametrize(("name", "folder"), [("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_the_other_sets_are_read_from_torchvisions_layout(
    name: str, folder: str, train: Command, outputs: Path, tmp_path: Path
) -> None:
    ended = train(f"data={name}", "model=mlp", "epochs=1", data_root=write_mnist(tmp_path / "other", name=folder))
    assert ended.returncode == 0, ended.stderr
    assert (outputs / name / "mlp").is_dir()


def test_a_first_run_works_offline_and_names_its_data(train: Command, outputs: Path, tmp_path: Path) -> None:
    ended = train("model=mlp", "epochs=1", data_root=tmp_path / "nothing")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("NOT MNIST")
    assert "digits: 1,500 to train on, 297 to test on" in ended.stdout
    assert [record["data"]["name"] for record in runs(outputs).values()] == ["digits"]


def test_divergence_is_a_result(train: Command, outputs: Path) -> None:
    ended = train("model=mlp", "optimizer=sgd", "lr=1e9", "epochs=5")
    assert ended.returncode == 0, ended.stderr
    (record,) = runs(outputs).values()
    assert record["status"] == "diverged"
    assert record["figures"]["train_loss"] is None
    assert record["figures"]["epochs"] == 1  # ended early, since the loss was not finite
    rows = curve(the_run(outputs))
    assert [row["train_loss"] for row in rows] in (["nan"], ["inf"])
    assert "diverged" in ended.stdout
    assert "Trained already" in train("model=mlp", "optimizer=sgd", "lr=1e9", "epochs=5").stdout


def test_a_loss_above_the_initial_one_is_divergence_and_a_tiny_gain_is_not(train: Command, outputs: Path) -> None:
    assert train("-m", "model=mlp", "optimizer=adam", "lr=3,1e-7", "epochs=3").returncode == 0
    status = {name: record["status"] for name, record in runs(outputs).items()}
    assert status == {"adam-bs64-lr3-seed0": "diverged", "adam-bs64-lr1e-07-seed0": "finished"}
    tiny = runs(outputs)["adam-bs64-lr1e-07-seed0"]["figures"]
    assert 0 < tiny["initial_loss"] - tiny["train_loss"] < 1e-3


def test_a_module_and_an_optimizer_by_target(train: Command, outputs: Path, tmp_path: Path) -> None:
    module = (
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, width, drop):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(width), nn.BatchNorm1d(width), nn.ReLU(),\n"
        "                         nn.Dropout(drop), nn.Linear(width, 10))\n"
    )
    own_choice(tmp_path, "model/mine", "_target_: mine.Net\nwidth: 32\ndrop: 0.2\n", module)
    adamax = "# @package _global_\nlr: 0.02\noptimizer:\n  _target_: torch.optim.Adamax\n  eps: 1e-8\n"
    found = own_choice(tmp_path, "optimizer/own_adamax", adamax)
    ended = train(
        *(*found, "model=mine", "model.width=48", "optimizer=own_adamax", "epochs=6"),
        PYTHONPATH=str(tmp_path),
    )
    assert ended.returncode == 0, ended.stderr
    record = runs(outputs)["own_adamax-bs64-lr0.02-seed0"]
    assert record["figures"]["test_accuracy"] > 0.8
    assert record["settings"]["model"] == {"_target_": "mine.Net", "width": 48, "drop": 0.2}


@needs_mnist
def test_an_epoch_of_the_real_mnist(train: Command, outputs: Path) -> None:
    ended = train("model=lenet", "optimizer=adam", "epochs=1", data_root=REAL)
    assert ended.returncode == 0
    assert ended.stderr == ""
    (record,) = runs(outputs).values()
    assert record["data"]["name"] == "mnist"
    assert record["figures"]["updates"] == 938
    assert 0.95 < record["figures"]["test_accuracy"] < 0.985


def test_a_damaged_data_file_is_named(train: Command, outputs: Path, tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "damaged")
    file = root / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-20])
    ended = train(data_root=root)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{file}: truncated")
    assert ended.stderr.count("\n") == 1
    assert not list(outputs.rglob("run.json"))


def test_a_traceback_is_shown_when_asked_for(train: Command) -> None:
    ended = train("lr=-1", HYDRA_FULL_ERROR="1")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "lr=-1: must be a finite number above 0" in ended.stderr


def test_a_failed_run_says_why_and_has_no_result(train: Command, outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from src.models import MLP\n"
        "class Net(MLP):\n"
        "    def forward(self, images):\n"
        "        assert not self.training, 'broken on purpose'\n"
        "        return super().forward(images)\n"
    )
    ended = train("model=mlp", "model._target_=broken.Net", "epochs=1", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    assert "AssertionError: broken on purpose (HYDRA_FULL_ERROR=1 shows the traceback)" in ended.stderr
    assert "Traceback" not in ended.stderr
    (record,) = runs(outputs).values()
    assert record["status"] == "failed"
    assert "broken on purpose" in record["error"]
    assert "forward" in record["traceback"]


@pytest.mark.parametrize("option", ["--help", "--cfg=job"])
def test_help_lists_the_settings(option: str, train: Command) -> None:
    ended = train(*option.split("="))
    assert ended.returncode == 0
    for expected in ("batch_size: 64", "lr: 0.0005"):
        assert expected in ended.stdout


def test_the_command_imports_torch_late() -> None:
    script = "import sys, src.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(ROOT)).returncode == 0


def test_a_run_on_other_data_files_is_neither_shown_nor_resumed(train: Command, tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "data")
    assert train("model=mlp", "epochs=1", data_root=root).returncode == 0
    write_mnist(root, train=301)
    ended = train("model=mlp", "epochs=1", data_root=root)
    assert ended.returncode == 2
    assert "was trained on other data files than the current ones; force=true trains it again" in ended.stderr
    assert train("model=mlp", "epochs=1", "force=true", data_root=root).returncode == 0


def test_two_processes_do_not_train_one_run(train: Command, outputs: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from src.runs.directory import Run\n"
        "with Run(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)\n"
    )
    assert train("model=mlp", "epochs=1").returncode == 0
    run = the_run(outputs)
    holder = subprocess.Popen([sys.executable, "-c", script, run], cwd=ROOT, stdout=subprocess.PIPE, env=os.environ)
    assert holder.stdout is not None
    holder.stdout.readline()
    ended = train("model=mlp", "epochs=1", "force=true")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert ended.returncode == 2
    assert "another process is training this run" in ended.stderr
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert train("model=mlp", "epochs=1", "force=true").returncode == 0  # a dead process holds no lock
