"""Sweeps in worker processes: skipped and failing runs, interrupts, two sweeps at once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from src.interrupts import RESUMES
from tests.helpers.commands import ROOT, Command, Start, environment, own_choice, processes, start
from tests.helpers.runs import assert_same

SWEEP = ("-m", "data=digits", "model=mlp", "epochs=3", "lr=0.01,0.02", "seed=0,1")


def records(outputs: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(outputs.rglob("run.json"))]


def sessions(outputs: Path) -> list[int]:
    return [len(record["sessions"]) for record in records(outputs)]


def none_is_left(session: int) -> bool:
    until = time.monotonic() + 60
    while processes(session) and time.monotonic() < until:
        time.sleep(0.05)
    return not processes(session)


def in_training(process: "subprocess.Popen[str]", outputs: Path, runs: int = 2) -> None:
    """Wait until this number of runs have trained an epoch."""
    until = time.monotonic() + 120
    while len(list(outputs.rglob("last.ckpt"))) < runs:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def faulty(tmp_path: Path) -> tuple[str, ...]:
    """Return arguments for a network that fails in its second epoch, as set by `model.how`, unless FAULTLESS is set."""
    module = (
        "import ctypes, os, signal, sys\n"
        "from src.models import MLP\n"
        "class Net(MLP):\n"
        "    def __init__(self, hidden, how):\n"
        "        super().__init__(hidden)\n"
        "        self.how, self.batches = how, 0\n"
        "    def forward(self, images):\n"
        "        self.batches += self.training\n"
        "        if self.batches > 30 and 'FAULTLESS' not in os.environ:\n"
        "            if self.how == 'raise': raise ValueError('broken on purpose')\n"
        "            if self.how == 'exit': os._exit(7)\n"
        "            if self.how == 'sys.exit': sys.exit(0)\n"
        "            if self.how == 'memory': os.kill(os.getpid(), signal.SIGKILL)\n"
        "            if self.how == 'segfault': ctypes.string_at(0)\n"
        "        return super().forward(images)\n"
    )
    yaml = "_target_: faulty.Net\nhidden: [8, 8, 8]\nhow: never\n"
    found = own_choice(tmp_path, "model/faulty", yaml, module)
    return *found, "-m", "data=digits", "model=faulty", "epochs=3"


def test_all_runs_are_shown_and_finished_ones_skipped(
    train: Command, start_train: Start, outputs: Path, small_mnist: Path
) -> None:
    first = train(*SWEEP)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert re.search(r"^4 runs: 4 to do  0/12 epochs  ETA", first.stdout, re.M)
    ended = re.findall(r"^finished  digits mlp adam lr (.*) batch 64 seed (.)  test \d\d\.\d\d%$", first.stdout, re.M)
    assert sorted(ended) == [("0.01", "0"), ("0.01", "1"), ("0.02", "0"), ("0.02", "1")]
    assert re.search(r"adam +│ 64 +│ +\d\d\.\d\d \(2\)( \*)? │ +\d\d\.\d\d \(2\)( \*)? │", first.stdout)
    assert "\x1b" not in first.stdout

    files = {path: path.read_bytes() for path in outputs.rglob("*") if path.is_file()}
    again = train(*SWEEP)
    assert again.returncode == 0
    assert "4 runs: 4 finished  12/12 epochs" in again.stdout
    assert {path: path.read_bytes() for path in files} == files

    wider = train(*(word.replace("0.01,0.02", "0.04,0.02,0.01,2e-2") for word in SWEEP))  # another order, one lr twice
    assert wider.returncode == 0
    assert "6 runs: 4 finished, 2 to do  12/18 epochs" in wider.stdout
    assert sessions(outputs) == [1] * 6

    nothing_to_do = start_train(outputs, small_mnist, *SWEEP, fork=False)
    most = 0
    while nothing_to_do.poll() is None:
        most = max(most, len(processes(nothing_to_do.pid)))
    nothing_to_do.communicate()
    assert most == 1  # neither a worker nor a fork server is started

    began = {file: json.loads(file.read_text())["ended"] for file in outputs.rglob("run.json")}
    assert train(*SWEEP, "force=true").returncode == 0
    assert sum(json.loads(file.read_text())["ended"] != before for file, before in began.items()) == 4
    assert sessions(outputs) == [1] * 6


def test_a_run_in_a_worker_equals_the_run_alone(train: Command, typed_train: Command, tmp_path: Path) -> None:
    alone, swept = tmp_path / "alone", tmp_path / "swept"
    assert typed_train(*SWEEP, f"output_dir={swept}").returncode == 0
    assert train(*SWEEP, "hydra/launcher=basic", f"output_dir={alone}").returncode == 0
    runs = sorted(file.parent.relative_to(alone) for file in alone.rglob("run.json"))
    assert len(runs) == 4
    for run in runs:
        assert_same(alone / run, swept / run)


def test_a_failing_run_is_reported_and_affects_no_other(
    faulty: tuple[str, ...], train: Command, outputs: Path, tmp_path: Path
) -> None:
    command = (*faulty, "model.how=raise,exit,sys.exit,memory,segfault,never", "hydra.launcher.workers=2")
    ended = train(*command, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    reasons = {
        "raise": "ValueError: broken on purpose",
        "exit": "its process exited with code 7",
        "sys.exit": "RuntimeError: the job called sys.exit(0)",
        "memory": "its process was ended by SIGKILL, perhaps because memory ran out",
        "segfault": "its process was ended by SIGSEGV",
    }
    found = {record["settings"]["model"]["how"]: record for record in records(outputs)}
    assert found["never"]["status"] == "finished"
    for how, reason in reasons.items():
        assert found[how]["status"] == "failed"
        assert reason in found[how]["error"]
        name = f"digits faulty adam lr 0.0005 batch 64 seed 0 model.how {how}"
        assert ended.stderr.count(f"failed    {name}: {reason}") == 1
    assert "Traceback" not in ended.stderr
    assert re.search(r"│ never +│ +\d\d\.\d\d \* │", ended.stdout)
    assert len(re.findall(r"│ (?:raise|exit|sys.exit|memory|segfault) +│ +failed │", ended.stdout)) == 5

    repaired = train(*command, PYTHONPATH=str(tmp_path), FAULTLESS="1")
    assert repaired.returncode == 0, repaired.stderr
    for record in records(outputs):
        assert record["status"] == "finished"
        assert "error" not in record
        assert len(record["sessions"]) == (1 if record["settings"]["model"]["how"] == "never" else 2)


def test_fail_fast_ends_at_the_first_failure(
    faulty: tuple[str, ...], train: Command, outputs: Path, tmp_path: Path
) -> None:
    many = ",".join(str(seed) for seed in range(12))
    command = (*faulty, "model.how=raise", f"seed={many}", "fail_fast=true", "hydra.launcher.workers=2")
    ended = train(*command, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    assert len(list(outputs.rglob("run.json"))) < 12
    assert ended.stderr.count("broken on purpose") >= 1
    assert "Traceback" not in ended.stderr
    assert "running" not in ended.stdout  # no run was left running


@pytest.mark.parametrize(
    ("signum", "whole_group", "code"),
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGKILL, False, -9)],
    ids=["Ctrl-C", "kill", "kill -9"],
)
def test_ending_the_launcher_ends_all(
    signum: signal.Signals, whole_group: bool, code: int, tmp_path: Path, start_train: Start
) -> None:
    begin = start_train if signum == signal.SIGINT else start  # Ctrl-C with a fork server is in test_errors.py
    process = begin(
        tmp_path, ROOT, "-m", "data=digits", "model=lenet", "epochs=500", "seed=0,1,2,3", "hydra.launcher.workers=2"
    )
    in_training(process, tmp_path)
    assert len(processes(process.pid)) >= 3
    (os.killpg if whole_group else os.kill)(process.pid, signum)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert none_is_left(process.pid)
    states = [record["status"] for record in records(tmp_path)]
    assert len(states) == 2
    if signum == signal.SIGKILL:
        assert set(states) <= {"interrupted", "running"}
    else:
        assert re.fullmatch(rf"{signum.name}: [1-9]\d* of \d+ epochs {re.escape(RESUMES)}\n", stderr)
        assert states == ["interrupted"] * 2
    assert len(list(tmp_path.rglob("last.ckpt"))) == 2


def test_ctrl_c_while_workers_start_is_quiet_too(tmp_path: Path) -> None:
    process = start(tmp_path, ROOT, "-m", "data=digits", "model=lenet", "epochs=500", "seed=0,1")
    until = time.monotonic() + 60
    while len(processes(process.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(1)  # while it imports torch
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.count("\n") == 1
    assert none_is_left(process.pid)


def test_two_studies_at_once_share_the_work(tmp_path: Path, start_train: Start) -> None:
    overlapping = [
        start_train(tmp_path, ROOT, *SWEEP[:-1], "epochs=12", f"seed={seeds}", "hydra.launcher.workers=2")
        for seeds in ("0,1,2", "2,1,3")
    ]
    for study in overlapping:
        stdout, stderr = study.communicate(timeout=200)
        assert study.returncode == 0, stderr
        assert "6 runs: " in stdout
        assert re.search(r"\d\d\.\d\d \(3\)", stdout)  # each shows the results of both
    assert sessions(tmp_path) == [1] * 8
    assert list((tmp_path / ".studies").iterdir()) == []


def test_wrong_settings_fail_alone(train: Command, outputs: Path) -> None:
    ended = train("-m", "data=digits", "model=mlp", "epochs=1", "lr=0.01,-1,0.02")
    assert ended.returncode == 1
    assert ended.stderr.count("lr=-1: must be a finite number above 0") == 1
    assert [record["settings"]["lr"] for record in records(outputs)] == [0.01, 0.02]


def test_a_dry_run_lists_the_runs_and_trains_none(train: Command, outputs: Path) -> None:
    before = train(*SWEEP, "dry_run=true")
    assert before.returncode == 0, before.stderr
    assert re.findall(r"^(\w.*?)  +digits mlp", before.stdout, re.M) == ["to do"] * 4
    assert "4 runs: 4 to do; expected to take an unknown time" in before.stdout
    assert list(outputs.rglob("run.json")) == []
    assert train(*SWEEP[:-1], "seed=1").returncode == 0
    after = train(*SWEEP, "dry_run=true")
    assert (
        re.findall(r"^(\w.*?)  +digits mlp.*seed (\d)", after.stdout, re.M) == [("to do", "0"), ("finished", "1")] * 2
    )
    assert re.search(r"4 runs: 2 finished, 2 to do; expected to take 0:00:\d\d with \d+ workers", after.stdout)
    alone = train("data=digits", "model=mlp", "lr=0.01", "epochs=3", "dry_run=true")
    assert alone.returncode == 0
    assert alone.stdout == "to do     digits mlp adam lr 0.01 batch 64 seed 0\n"


def test_there_is_a_worker_for_each_available_core(small_mnist: Path) -> None:
    one_core = (
        "import os, sys; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", one_core, sys.executable, "-m", "src.train", "+study=assignment", "dry_run=true"]
    ended = subprocess.run(command, cwd=ROOT, env=environment(small_mnist), capture_output=True, text=True)
    assert ended.stdout.endswith("with 1 worker\n"), ended.stderr


def test_named_studies_are_sweeps_and_take_overrides(train: Command, small_mnist: Path) -> None:
    def listed(*arguments: str) -> list[str]:
        ended = train(*arguments, "dry_run=true")
        assert ended.returncode == 0, ended.stderr
        return re.findall(r"^to do +(.*)$", ended.stdout, re.M)

    grid = [
        f"mnist lenet {optimizer} lr {lr} batch {batch} seed 0"
        for optimizer in ("sgd", "adagrad", "adam")
        for batch in (64, 256)
        for lr in ("0.05", "0.0005", "5e-07")
    ]
    assert listed("+study=assignment") == grid
    assert len(listed("+study=assignment", "seed=0,1,2")) == 54
    assert listed("+study=assignment", "lr=0.1", "optimizer=adam") == [
        f"mnist lenet adam lr 0.1 batch {batch} seed 0" for batch in (64, 256)
    ]
    assert listed("+study=problem1") == ["mnist mlp adam lr 0.0005 batch 64 seed 0"]
    assert len(listed("+study=smoke")) == 6
