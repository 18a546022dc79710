"""The Slurm and Ray launchers on this machine, with submitit's local executor and a local Ray."""

import importlib.util
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from src.runs.directory import Run
from src.runs.provenance import begin_command, command_id
from tests.helpers.commands import Command, Start
from tests.helpers.runs import the_run
from tests.reporting.synthetic import cell

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra [ray]")
LAUNCHERS = [
    ("hydra/launcher=slurm_local",),
    pytest.param(("hydra/launcher=ray_tasks", "hydra.launcher.ray.init.num_cpus=2"), marks=needs_ray),
]


def records(outputs: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(outputs.rglob("run.json"))]


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=["slurm_local", "ray"])
def test_runs_are_trained_once_and_a_failing_one_does_not_stop_others(
    launcher: tuple[str, ...], train: Command, outputs: Path
) -> None:
    command = ("-m", *launcher, "model=mlp", "epochs=1")
    ended = train(*command, "lr=-1,0.001", RAY_USAGE_STATS_ENABLED="0")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert [record["status"] for record in records(outputs)] == ["finished"]
    before = records(outputs)
    again = train(*command, "lr=0.001,0.002", RAY_USAGE_STATS_ENABLED="0")
    assert again.returncode == 0, again.stderr
    assert [record["status"] for record in records(outputs)] == ["finished"] * 2
    assert [record for record in records(outputs) if record["settings"]["lr"] == 0.001] == before


def test_a_preempted_or_timed_out_job_resumes_from_its_last_epoch(
    start_train: Start, small_mnist: Path, outputs: Path
) -> None:
    sweep = ("-m", "hydra/launcher=slurm_local", "model=mlp", "epochs=60", "force=true")
    process = start_train(outputs, small_mnist, *sweep)
    until = time.monotonic() + 200
    while not list(outputs.rglob("last.ckpt")):
        assert time.monotonic() < until
        time.sleep(0.1)
    (submitted,) = (outputs / ".submitit").glob("*_submitted.pkl")
    controller = submitted.name.removesuffix("_submitted.pkl")
    (job,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(job), signal.SIGUSR2)  # as Slurm does
    process.communicate(timeout=200)
    assert process.returncode == 0
    record = json.loads((the_run(outputs) / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["figures"]["epochs"] == 60
    assert len(record["sessions"]) == 2
    assert [path for path in outputs.rglob("*") if "%" in path.name] == []


def test_force_trains_a_run_once_for_each_slurm_job(train: Command, outputs: Path) -> None:
    forced = ("model=mlp", "epochs=1", "force=true")
    assert train(*forced[:2], SLURM_JOB_ID="7").returncode == 0  # another command of the same job
    for job, said in (("7", "epoch 1/1"), ("7", "Trained already"), ("8", "epoch 1/1")):
        ended = train(*forced, SLURM_JOB_ID=job)
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stdout
        record = json.loads((the_run(outputs) / "run.json").read_text())
        assert [session["command_id"].partition("-")[0] for session in record["sessions"]] == [job]


def test_force_clears_a_run_once_per_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAVINE_COMMAND_ID", raising=False)
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    (session,) = run.record()["sessions"]  # as written by an earlier version
    assert Run(tmp_path).to_be_cleared(force=True)  # its record is not written yet
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert run.to_be_cleared(force=True)
    run.update(sessions=[session | {"command_id": "7"}, session | {"command_id": "9"}])
    assert not run.to_be_cleared(force=True)
    run.update(sessions=[session | {"command_id": "9"}, session | {"command_id": "7"}])
    assert run.to_be_cleared(force=True)  # this job resumed it, but did not begin it
    assert not run.to_be_cleared(force=False)
    run.record_file.write_text("{")
    assert run.to_be_cleared(force=True)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_command_in_an_interactive_job_is_not_a_requeued_job(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAVINE_COMMAND_ID", "of an earlier command")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr("os.isatty", lambda _: terminal)
    ids = []
    for _ in range(2):
        begin_command()
        ids.append(command_id())
    assert any(str(each).startswith("7-") for each in ids) != terminal
    assert len(set(ids)) == (2 if terminal else 1)


def test_slurm_gets_the_presets_resources(train: Command, outputs: Path, tmp_path: Path) -> None:
    """Replace sbatch by a script that prints its input and fails."""
    for name, script in {"sbatch": 'cat "$1" >&2; exit 1', "srun": "true"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ended = train("-m", "hydra/launcher=slurm", "hydra.launcher.partition=small", "lr=0.1,0.2", PATH=path)
    assert ended.returncode == 1
    for wanted in (
        *("array=0-1%", "cpus-per-task=1", "ntasks-per-node=1", "nodes=1", "time=60", "partition=small"),
        f"output={outputs}/.submitit/%A_%a/",
    ):
        assert f"#SBATCH --{wanted}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("choice", "extra"),
    [
        ("slurm", "slurm"),
        ("slurm_local", "slurm"),
        ("submitit_slurm", "slurm"),
        ("submitit_local", "slurm"),
        ("ray_tasks", "ray"),
        ("ray", "ray"),
    ],
)
def test_a_launcher_without_its_plugin_says_what_to_install(
    choice: str, extra: str, typed_train: Command, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import hydra_plugins\n"
        "hydra_plugins.__path__ = [path for path in hydra_plugins.__path__ if 'site-packages' not in path]\n"
    )
    ended = typed_train("-m", f"hydra/launcher={choice}", "lr=0.1,0.2", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.endswith(f": is not installed; pip install -e '.[{extra}]'\n")
