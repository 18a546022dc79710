"""`hydra.launcher.fuse=true`, as typed."""

import re
from pathlib import Path

import pytest

from src.runs.run import Run
from tests.benchmarks.kills import kill_and_compare
from tests.conftest import ROOT, Command
from tests.fused.conftest import assert_near, runs_in

FUSE = "hydra.launcher.fuse=true", "hydra.launcher.workers=1"
SWEEP = "-m", "data=digits", "model=mlp", "epochs=2", "optimizer=sgd,adam", "lr=0.01,0.001", "seed=0,1"


def test_the_same_runs_as_without(train: Command, tmp_path: Path) -> None:
    fused, plain = tmp_path / "fused", tmp_path / "plain"
    shown = [train(*SWEEP, f"output_dir={fused}", *FUSE), train(*SWEEP, f"output_dir={plain}")]
    assert [each.returncode for each in shown] == [0, 0], shown[0].stderr
    assert shown[0].stderr == ""
    ended = [sorted(re.findall(r"^finished .*", each.stdout, re.M)) for each in shown]
    assert len(ended[0]) == 8
    assert [line.split("  test")[0] for line in ended[0]] == [line.split("  test")[0] for line in ended[1]]
    assert "trained alone" not in shown[0].stdout
    assert runs_in(fused) == runs_in(plain)
    for run in runs_in(plain):
        assert_near(plain / run, fused / run, 1e-3)
        assert Run(fused / run).record()["fused"]
        overrides = [(output / run / ".hydra" / "overrides.yaml").read_text() for output in (plain, fused)]
        assert overrides[0].replace(str(plain), str(fused)) == overrides[1]
    again = train(*SWEEP, f"output_dir={fused}", *FUSE)
    assert "8 runs: 8 finished  16/16 epochs" in again.stdout


def test_the_summary_says_what_was_trained_alone(train: Command, outputs: Path) -> None:
    command = ("-m", "data=digits", "model=mlp", "epochs=1", *FUSE)
    mixed = train("--config-dir", str(_lbfgs(outputs.parent)), *command, "optimizer=sgd,lbfgs", "seed=0,1")
    assert mixed.returncode == 0, mixed.stderr
    assert "2 runs were trained alone: LBFGS is not one of torch.optim's that evaluate" in mixed.stdout
    assert sorted(Run(outputs / run).record()["fused"] for run in runs_in(outputs)) == [False, False, True, True]
    different = train(*command, "batch_size=32,128,128", "seed=5")
    assert "2 runs were trained alone: no other run that is left is like it" in different.stdout


def _lbfgs(folder: Path) -> Path:
    (folder / "conf" / "optimizer").mkdir(parents=True)
    text = "# @package _global_\nlr: 0.1\noptimizer:\n  _target_: torch.optim.LBFGS\n  max_iter: 2\n"
    (folder / "conf" / "optimizer" / "lbfgs.yaml").write_text(text)
    return folder / "conf"


def test_a_run_that_ends_the_process_is_found_out(train: Command, outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from src.schedules import Schedule\n"
        "class Deadly(Schedule):\n"
        "    def lr_factor(self, epoch):\n"
        "        if epoch == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return 1.0\n"
    )
    (tmp_path / "conf" / "schedule").mkdir(parents=True)
    (tmp_path / "conf" / "schedule" / "deadly.yaml").write_text("_target_: deadly.Deadly\n")
    command = ("--config-dir", str(tmp_path / "conf"), "-m", "data=digits", "model=mlp", "epochs=3")
    ended = train(*command, "schedule=constant,deadly,cosine", *FUSE, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    status = {
        Run(outputs / run).record()["names"]["schedule"]: Run(outputs / run).record()["status"]
        for run in runs_in(outputs)
    }
    assert status == {"constant": "finished", "deadly": "failed", "cosine": "finished"}
    assert "3 runs were trained alone: its group failed: its process was ended by SIGKILL" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_killed_at_random_moments(tmp_path: Path) -> None:
    grid = ("-m", "data=digits", "model=lenet", "optimizer=sgd,adam", "seed=0,1", "epochs=12", *FUSE)
    kill_and_compare(tmp_path, ROOT, grid, kills=3, seed=2)


@pytest.mark.parametrize("value", ["maybe", "2", "null"])
def test_a_wrong_value_is_told(value: str, train: Command) -> None:
    wrong = train(*SWEEP, f"hydra.launcher.fuse={value}")
    assert wrong.returncode == 2
    assert (
        wrong.stderr == f"hydra.launcher.fuse={None if value == 'null' else value}: must be one of: auto, true, false\n"
    )
