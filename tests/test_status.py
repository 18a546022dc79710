"""The command `python -m src.status`."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.commands import ROOT, Command, Start, environment


def status(*arguments: str | Path, **extra: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.status", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment(ROOT, **extra), capture_output=True, text=True, timeout=60)


def test_runs_of_any_launcher_are_shown(train: Command, outputs: Path) -> None:
    grid = ("-m", "data=digits", "model=mlp", "epochs=2", "hydra/launcher=basic")
    assert train(*grid, "lr=0.01,0.02").returncode == 0
    assert train(*grid, "lr=1e9", "optimizer=sgd").returncode == 0
    finished, other, _ = sorted(outputs.glob("*/*/*/run.json"))
    record = json.loads(finished.read_text()) | {"status": "failed", "error": "ValueError: broken on purpose"}
    finished.write_text(json.dumps(record))
    other.write_text(other.read_text().replace('"finished"', '"running"'))  # as a killed process would leave it
    seen = status(outputs)
    assert seen.returncode == 0, seen.stderr
    assert "3 runs: 1 diverged, 1 failed, 1 interrupted" in seen.stdout
    assert re.search(r"│ sgd +│ 64 +│ diverged │ +- │ +- │", seen.stdout)
    assert re.search(r"│ adam +│ 64 +│ +- │ interrupted │ +failed │", seen.stdout)
    assert "failed  digits mlp adam lr 0.01 batch 64 seed 0: ValueError: broken on purpose" in seen.stdout

    part = status(outputs / "digits" / "mlp").stdout
    assert part == seen.stdout
    assert max(map(len, status(outputs, COLUMNS="30").stdout.splitlines())) > 30  # a file is not cut to a width

    content = finished.read_bytes()
    finished.write_bytes(content[:50])
    seen = status(outputs)
    assert f"{finished}: damaged (not JSON (" in seen.stdout
    assert finished.read_bytes() == content[:50]  # status writes nothing


def test_a_running_study_is_shown_with_its_remaining_runs(tmp_path: Path, start_train: Start) -> None:
    study = start_train(
        tmp_path, ROOT, "-m", "data=digits", "model=mlp", "epochs=300", "seed=0,1,2,3,4", "hydra.launcher.workers=1"
    )
    watching = subprocess.Popen(
        [sys.executable, "-m", "src.status", "--watch", tmp_path],
        cwd=ROOT, env=environment(ROOT), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout is not None
    for line in watching.stdout:
        assert study.poll() is None
        if found := re.search(r"5 runs: (.*)1 running, (\d) to do  (\d+)/1500 epochs  ETA \d+:\d\d:\d\d", line):
            break
    assert found
    seen = status(tmp_path).stdout
    assert re.search(r"epoch +\d+/300 +test +\d+\.\d\d% +digits mlp adam lr 0.0005 batch 64 seed \d", seen)
    study.kill()
    study.communicate()
    until = time.monotonic() + 60
    while "1 running" in status(tmp_path).stdout and time.monotonic() < until:
        pass
    seen = status(tmp_path).stdout
    assert "1 interrupted" in seen
    assert "to do" not in seen  # no study is at work
    assert list((tmp_path / ".studies").iterdir()) == []
    watching.send_signal(signal.SIGINT)
    stdout, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert "1 interrupted" in stdout


def test_bad_input_gets_one_clear_line(tmp_path: Path) -> None:
    assert "0 runs" in status(tmp_path).stdout
    missing = status(tmp_path / "missing")
    assert missing.returncode == 2
    assert f"{tmp_path / 'missing'}: there is no such directory" in missing.stderr
