"""A study survives kills, a full disk, damaged files and a jumping clock."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.kills import kill_and_compare
from tests.helpers.commands import ROOT, Command, Start
from tests.helpers.runs import assert_same

STUDY = ("-m", "data=digits", "model=mlp", "epochs=3", "optimizer=sgd,adam", "seed=0,1")


def runs(outputs: Path) -> list[Path]:
    return sorted(file.parent for file in outputs.rglob("run.json"))


def test_a_study_killed_at_random_moments_equals_an_uninterrupted_one(tmp_path: Path, start_train: Start) -> None:
    grid = (
        "-m",
        "data=digits",
        "model=lenet",
        "optimizer=sgd,adam",
        "seed=0,1",
        "epochs=6",
        "hydra.launcher.workers=2",
    )
    kill_and_compare(tmp_path, ROOT, grid, kills=2, seed=1, start=start_train)


def test_damaged_files_are_renamed_and_their_runs_repeated(train: Command, tmp_path: Path) -> None:
    alone, damaged = tmp_path / "alone", tmp_path / "damaged"
    assert train(*STUDY, f"output_dir={alone}").returncode == 0
    shutil.copytree(alone, damaged)
    record, checkpoint, both, _ = runs(damaged)
    for run in (record, both):
        (run / "run.json").write_bytes(b'{"status": "finis')
    for run in (checkpoint, both):
        content = bytearray((run / "last.ckpt").read_bytes())
        middle = len(content) // 2
        content[middle : middle + 512] = bytes(512)  # more than a header, whose time and the like do not matter
        (run / "last.ckpt").write_bytes(content)
    (checkpoint / "run.json").write_text((checkpoint / "run.json").read_text().replace("finished", "interrupted"))
    ended = train(*STUDY, f"output_dir={damaged}")
    assert ended.returncode == 0, ended.stderr
    assert "4 runs: 1 finished, 3 to do" in ended.stdout
    assert ended.stderr.count("run.json: damaged, renamed to run.json.damaged (") == 2
    assert ended.stderr.count("last.ckpt: damaged, renamed to last.ckpt.damaged (") == 2
    for run in runs(damaged):
        assert_same(alone / run.relative_to(damaged), run)
    for run, names in ((record, ["run.json"]), (checkpoint, ["last.ckpt"]), (both, ["last.ckpt", "run.json"])):
        assert sorted(path.name for path in run.glob("*.damaged")) == [f"{name}.damaged" for name in names]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 400 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_fails_runs_and_leaves_nothing_half_written(train: Command, small_disk: Path) -> None:
    output = small_disk / "outputs"
    ended = train(*STUDY, "model=lenet", f"output_dir={output}")
    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(output.rglob("*.partial")) == []
    statuses = [json.loads((run / "run.json").read_text())["status"] for run in runs(output)]
    assert "failed" in statuses
    subprocess.run(["mount", "-o", "remount,size=40m", small_disk], check=True)
    ended = train(*STUDY, "model=lenet", f"output_dir={output}")
    assert ended.returncode == 0, ended.stderr
    statuses = [json.loads((run / "run.json").read_text())["status"] for run in runs(output)]
    assert len(statuses) == 4
    assert set(statuses) <= {"finished", "diverged"}


def test_an_unwritable_output_directory(train: Command, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        forbidden = Path("/proc/ravine")  # where not even root may write
    else:
        forbidden = tmp_path / "forbidden"
        forbidden.mkdir(mode=0o555)
    ended = train(*STUDY, f"output_dir={forbidden}")
    assert ended.returncode == 1
    assert ended.stderr.startswith(str(forbidden))
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.endswith("choose another path, or check its permissions\n")


def test_a_clock_that_jumps_changes_nothing(train: Command, typed_train: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "true, jump = time.time, itertools.cycle((0, 86400, -86400, 1e9))\n"
        "time.time = lambda: true() + next(jump)\n"
    )
    alone, jumping = tmp_path / "alone", tmp_path / "jumping"
    assert train(*STUDY, f"output_dir={alone}").returncode == 0
    half = typed_train(*STUDY[:-1], "seed=1", f"output_dir={jumping}", PYTHONPATH=str(tmp_path))
    assert half.returncode == 0, half.stderr
    for file in jumping.rglob("*"):  # as if the clock had been set back
        os.utime(file, (2e9, 2e9))
    ended = train(*STUDY, f"output_dir={jumping}", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert "4 runs: 2 finished, 2 to do" in ended.stdout
    for run in runs(alone):
        assert_same(run, jumping / run.relative_to(alone))
