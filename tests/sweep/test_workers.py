"""Worker processes end when they are told to."""

import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from src import interrupts
from src.sweep import workers


def survive_one_interrupt(file: Path) -> None:
    """As a run whose first interrupt is lost in a library's callback."""
    interrupts.CLEANUP = 0.1
    interrupts.raise_on_signals([signal.SIGTERM])
    file.with_suffix(".begun").touch()
    for place in ("lost", "taken"):
        with suppress(interrupts.Interrupted):
            time.sleep(60)
        file.write_text(place)


def test_a_worker_that_loses_an_interrupt_gets_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 3.0)
    worker = workers.Worker(workers.start_method(imports=()))
    worker.start(survive_one_interrupt, file := tmp_path / "interrupts")
    while not file.with_suffix(".begun").exists():
        time.sleep(0.05)
    workers.end_all([worker])
    assert file.read_text() == "taken"


def test_a_worker_ends_while_it_is_handed_a_large_argument() -> None:
    """It has not read all when it dies, and Python before 3.11.5 would go on writing."""
    worker = workers.Worker(workers.start_method(imports=()))
    worker.start(len, b"0" * 50_000_000)
    ending = threading.Thread(target=workers.end_all, args=([worker],), daemon=True)
    ending.start()
    ending.join(30)
    assert not ending.is_alive()
