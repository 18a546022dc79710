"""Limits of the system end in one line that names the remedy."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from src.errors import one_line
from src.sweep.workers import _how_it_ended
from tests.helpers.commands import Command
from tests.training.test_own_state import MLP, settings, train

pytestmark = pytest.mark.usefixtures("blank_error_figures")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
            "raise the limit with ulimit -n 1024, or use fewer",
        ),
        (OSError("AF_UNIX path too long"), "is too long for the sockets between processes; set TMPDIR=/tmp"),
        (MemoryError("no"), "MemoryError: no: memory ran out; raise a limit that ulimit -v shows"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "memory ran out; raise a limit"),
    ],
)
def test_a_limit_is_told_with_its_remedy(error: Exception, said: str) -> None:
    assert said in one_line(error)


@pytest.mark.parametrize(
    ("command", "place"),
    [("train", "another folder with output_dir="), ("predict", "another file with csv="), ("export", "another file")],
)
def test_a_full_disk_names_the_option_of_the_command(command: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [f"/somewhere/src/{command}.py"])
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "there")
    assert one_line(full) == f"there: No space left on device; free some space, or choose {place}"


def test_a_worker_of_limited_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    assert _how_it_ended(1) == "its process exited with code 1"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**31, 2**31))
    assert _how_it_ended(1).endswith(", perhaps because ulimit -v allows it only 2.0 GB of memory")


def test_a_long_folder_for_temporary_files(typed_train: Command, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    ended = typed_train("-m", "data=digits", "model=mlp", "epochs=1", "seed=0,1", TMPDIR=str(folder))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line == f"TMPDIR={folder}: is too long for the sockets between processes; set TMPDIR=/tmp"


def test_a_disk_that_is_full_for_tensorboard_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, settings(MLP, {"_target_": "torch.optim.Adam"}))
    assert "Traceback" not in capfd.readouterr().err
