"""Commands with `hydra.launcher.vectorize=true`."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch

from src.runs.directory import Run
from tests.helpers.commands import Command, Start, own_choice
from tests.helpers.groups import assert_near, runs_in
from tests.helpers.runs import assert_same

FUSE = "hydra.launcher.vectorize=true", "hydra.launcher.workers=1"
SWEEP = "-m", "data=digits", "model=mlp", "epochs=2", "optimizer=sgd,sgd_nesterov", "seed=0,1"


def test_vectorized_runs_equal_plain_runs(train: Command, tmp_path: Path) -> None:
    fused, plain = tmp_path / "fused", tmp_path / "plain"
    shown = [train(*SWEEP, f"output_dir={fused}", *FUSE), train(*SWEEP, f"output_dir={plain}")]
    assert [each.returncode for each in shown] == [0, 0], shown[0].stderr
    assert shown[0].stderr == ""
    ended = [sorted(re.findall(r"^finished .*", each.stdout, re.M)) for each in shown]
    assert len(ended[0]) == 4
    assert [line.split("  test")[0] for line in ended[0]] == [line.split("  test")[0] for line in ended[1]]
    assert "trained alone" not in shown[0].stdout
    assert "4 runs will be trained as 1 model\n" in shown[0].stdout
    assert runs_in(fused) == runs_in(plain)
    for run in runs_in(plain):
        assert_near(plain / run, fused / run, 1e-3)
        assert Run(fused / run).record()["fused"]
        overrides = [(output / run / ".hydra" / "overrides.yaml").read_text() for output in (plain, fused)]
        assert overrides[0].replace(str(plain), str(fused)) == overrides[1]


def test_the_summary_names_runs_trained_alone(train: Command, outputs: Path) -> None:
    command = "-m", "data=digits", "model=mlp", "epochs=1", *FUSE
    yaml = "# @package _global_\nlr: 0.1\noptimizer:\n  _target_: torch.optim.LBFGS\n  max_iter: 2\n"
    found = own_choice(outputs.parent, "optimizer/lbfgs", yaml)
    mixed = train(*found, *command, "optimizer=sgd,lbfgs", "seed=0,1")
    assert mixed.returncode == 0, mixed.stderr
    assert "2 runs were trained alone: LBFGS evaluates the network more than once an update" in mixed.stdout
    assert sorted(Run(outputs / run).record()["fused"] for run in runs_in(outputs)) == [False, False, True, True]
    different = train(*command, "batch_size=32,128,128", "seed=5")
    assert "2 runs were trained alone: no other run to train is compatible with it" in different.stdout


def test_a_run_that_kills_the_process_fails_alone(train: Command, outputs: Path, tmp_path: Path) -> None:
    module = (
        "import os, signal\n"
        "from src.schedules import Schedule\n"
        "class Deadly(Schedule):\n"
        "    def lr_factor(self, epoch):\n"
        "        if epoch == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return 1.0\n"
    )
    found = own_choice(tmp_path, "schedule/deadly", "_target_: deadly.Deadly\n", module)
    command = (*found, "-m", "data=digits", "model=mlp", "epochs=3")
    ended = train(*command, "schedule=constant,deadly,cosine", *FUSE, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    status = {
        Run(outputs / run).record()["names"]["schedule"]: Run(outputs / run).record()["status"]
        for run in runs_in(outputs)
    }
    assert status == {"constant": "finished", "deadly": "failed", "cosine": "finished"}
    assert "3 runs were trained alone: its group failed: its process was ended by SIGKILL" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_killed_again_and_again(train: Command, start_train: Start, tmp_path: Path, small_mnist: Path) -> None:
    grid = "-m", "data=digits", "model=lenet", "optimizer=sgd,adam", "seed=0,1", "epochs=8", *FUSE
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(*grid, f"output_dir={whole}").stderr == ""
    epochs = [0]
    for _ in range(2):
        process = start_train(cut, small_mnist, *grid)
        while process.poll() is None and epochs_of(cut) <= epochs[-1]:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        epochs.append(epochs_of(cut))
    assert 0 < epochs[1] < epochs[2] < 8
    assert "4 runs: 4 to do" in train(*grid, f"output_dir={cut}").stdout
    for run in runs_in(whole):
        assert_same(whole / run, cut / run)
        assert [session["group_size"] for session in Run(cut / run).record()["sessions"]] == [4, 4, 4]


def epochs_of(output: Path) -> int:
    """Return the smallest number of epochs in the four checkpoints, or 0 if there are fewer."""
    found = [len(torch.load(file, weights_only=True)["curve"]) for file in output.rglob("last.ckpt")]
    return min(found) if len(found) == 4 else 0


def test_two_vectorized_studies_share_runs(tmp_path: Path, small_mnist: Path, start_train: Start) -> None:
    grid = "-m", "data=digits", "model=mlp", "optimizer=sgd,adam", "seed=0,1", *FUSE
    first = start_train(tmp_path / "outputs", small_mnist, *grid, "epochs=8")
    second = start_train(tmp_path / "outputs", small_mnist, *grid, "epochs=8", "lr=0.02,0.05")
    for study in (first, second):
        _, stderr = study.communicate()
        assert study.returncode == 0, stderr
    runs = [Run(tmp_path / "outputs" / run).record() for run in runs_in(tmp_path / "outputs")]
    assert len(runs) == 10  # both studies contain two of the sgd runs
    assert all(run["status"] == "finished" and len(run["sessions"]) == 1 for run in runs)


def test_forced_runs_of_a_failed_group_resume(train: Command, tmp_path: Path) -> None:
    module = (
        "from src.schedules import Schedule\n"
        "class Failing(Schedule):\n"
        "    def lr_factor(self, epoch):\n"
        "        seen = vars(self).setdefault('seen', [])\n"
        "        if epoch == 15 and epoch in seen: raise OSError('broken on purpose')\n"  # once seen by the check
        "        seen.append(epoch)\n"
        "        return 1.0\n"
    )
    found = own_choice(tmp_path, "schedule/failing", "_target_: failing.Failing\n", module)
    command = (*found, "-m", "data=digits", "model=lenet", "epochs=20", "force=true")
    ended = train(*command, "schedule=constant,failing", *FUSE, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    assert "2 runs were trained alone: its group failed: OSError: broken on purpose" in ended.stdout
    records = [Run(tmp_path / "outputs" / run).record() for run in runs_in(tmp_path / "outputs")]
    assert {record["names"]["schedule"]: record["status"] for record in records} == {
        "constant": "finished",
        "failing": "failed",
    }
    for record in records:  # resumed, not started over
        assert [session["group_size"] for session in record["sessions"]] == [2, 1]


@pytest.mark.parametrize("value", ["maybe", "2", "null"])
def test_a_wrong_value_is_an_error(value: str, train: Command) -> None:
    wrong = train(*SWEEP, f"hydra.launcher.vectorize={value}")
    assert wrong.returncode == 2
    said = None if value == "null" else value
    assert wrong.stderr == f"hydra.launcher.vectorize={said}: must be one of: auto, true, false\n"
