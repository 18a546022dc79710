"""Ctrl-C and closed pipes at any moment give no traceback and lose no finished epoch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.errors import one_line
from src.interrupts import RESUMES, Interrupted, interruptible, raise_interrupts
from tests.helpers.commands import ROOT, Command, environment, processes, start
from tests.helpers.runs import the_run
from tests.helpers.warm import Started, WarmCommands

HINT = re.compile(rf"SIGINT: (\d+ of \d+|completed) epochs {re.escape(RESUMES)}\n")
DIGITS = ("data=digits", "model=mlp")


def interrupt(process: "subprocess.Popen[str]") -> str:
    """Send Ctrl-C four times within a tenth of a second, as a terminal does; return the command's stderr."""
    for _ in range(4):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.025)
    return process.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("hydra", ("src.train",)),
        ("src.data.datasets", ("src.train",)),
        (str(ROOT / "conf" / "config.yaml"), ("src.train",)),  # while Hydra composes
        ("src.config.loader", ("src.train", "-m", "lr=0.1,0.2")),
        ("torch", ("src.train",)),
        ("pytorch_lightning", ("src.train",)),
        ("src.training.error_figure", ("src.train", "epochs=1")),  # after the last epoch
        ("rich", ("src.status",)),
        ("pandas", ("src.report",)),
        ("src.config.selection", ("src.report", "+study=smoke")),
    ],
)
def test_interrupt_while_importing_or_composing(name: str, command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def hook(event, arguments):\n"
        f"    if event in ('import', 'open') and str(arguments[0]) == {name!r}:\n"
        "        for _ in range(4):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.addaudithook(hook)\n"
    )
    settings = DIGITS if command[0] == "src.train" else ()
    ended = subprocess.run(
        [sys.executable, "-m", *command, *settings, *([f"output_dir={tmp_path}"] if settings else [])],
        cwd=ROOT,
        env=environment(tmp_path, PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode in (130, -signal.SIGINT)
    assert re.fullmatch(r"(SIGINT: .*\n)?", ended.stderr)


def test_interrupt_while_training(tmp_path: Path) -> None:
    process = start(tmp_path, tmp_path, *DIGITS, "epochs=100000")
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 2/" in line:
            break
    assert HINT.fullmatch(interrupt(process))
    assert process.returncode == 130
    assert json.loads((the_run(tmp_path) / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize("until", [".studies/*.json", "digits/mlp/*/last.ckpt"])  # workers start; they train
def test_interrupt_while_a_sweep_trains(until: str, tmp_path: Path) -> None:
    process = start(tmp_path, tmp_path, "-m", *DIGITS, "epochs=100000", "seed=0,1,2")
    while not list(tmp_path.glob(until)):
        assert process.poll() is None
        time.sleep(0.01)
    assert HINT.fullmatch(interrupt(process))
    assert process.returncode == 130
    states = {json.loads(file.read_text())["status"] for file in tmp_path.rglob("run.json")}
    assert states == {"interrupted"} or (until == ".studies/*.json" and not states)
    assert list(tmp_path.glob(".studies/*")) == []
    ends = time.monotonic() + 60
    while processes(process.pid):  # a server in the middle of an import ends after it
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_interrupt_at_the_end(tmp_path: Path) -> None:
    process = start(tmp_path, tmp_path, *DIGITS, "epochs=1")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("    files"):
            break
    assert (stderr := interrupt(process)) == "" or HINT.fullmatch(stderr)
    assert process.returncode in (0, 130)
    assert json.loads((the_run(tmp_path) / "run.json").read_text())["status"] == "finished"


def read_a_line(process: "subprocess.Popen[str] | Started") -> int:
    """Read one line of a command's output and close it; return the exit code. The command must print no error."""
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert all(line.startswith("drawing ") for line in process.stderr)  # a report's progress
    process.stderr.close()
    return process.wait()


def test_a_run_with_a_closed_stdout_is_interrupted(train: Command, warm: WarmCommands, outputs: Path) -> None:
    assert read_a_line(start(outputs, ROOT, *DIGITS, "epochs=5", PYTHONUNBUFFERED="")) == 141
    assert json.loads((the_run(outputs) / "run.json").read_text())["status"] == "interrupted"
    assert train(*DIGITS, "epochs=5").returncode == 0
    record = json.loads((the_run(outputs) / "run.json").read_text())
    assert record["status"] == "finished"
    assert len(record["sessions"]) == 2

    sweep = "src.train", ("-m", *DIGITS, "epochs=20", "seed=1,2,3", f"output_dir={outputs}")
    assert read_a_line(warm.start(*sweep, environment(ROOT))) == 141
    assert list(outputs.glob(".studies/*")) == []
    for command in (
        ("src.report", [f"output_dir={outputs}"]),
        ("src.status", [str(outputs)]),
        ("src.train", ["--help"]),
    ):
        assert read_a_line(warm.start(*command, environment(ROOT))) in (0, 141)


@interruptible("a hint")
def interrupted_while_a_library_works() -> None:
    raise_interrupts()
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)  # a second one is ignored
    one_line(AttributeError("what OmegaConf makes of it"))


def test_a_librarys_error_after_an_interrupt_is_the_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        interrupted_while_a_library_works()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "SIGINT: a hint\n"
    assert signal.getsignal(signal.SIGINT) == before
    assert "an error" in one_line(ValueError("an error"))


def test_a_full_disk_error_names_the_remedy() -> None:
    full = OSError(28, "No space left on device", "outputs/last.ckpt")
    remedy = "free some space, or choose another folder with output_dir="
    assert one_line(full) == f"outputs/last.ckpt: No space left on device; {remedy}"
    assert one_line(OSError(28, "No space left on device")) == f"No space left on device; {remedy}"
