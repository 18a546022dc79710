import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.runs.files import replace_file
from src.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_no_record_is_an_empty_one(run: Run) -> None:
    assert run.record() == {}
    assert not run.ended


def test_fields_are_added(run: Run) -> None:
    run.write({"status": "running", "a": 1})
    run.update(status="finished", figures={})
    assert json.loads(run.record_file.read_text()) == run.record() == {"status": "finished", "a": 1, "figures": {}}
    assert run.ended
    run.write({"status": "running"})
    assert run.record() == {"status": "running"}


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_only_finished_and_diverged_runs_have_ended(status: str, run: Run) -> None:
    run.update(status=status)
    assert not run.ended


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"a": 1}', b'{"status": "done"}', b'{"status": "finished"}', b"\xff\xfe"]
)
def test_a_damaged_record_is_none(content: bytes, run: Run) -> None:
    run.record_file.write_bytes(content)
    assert run.record() == {}
    assert run.record_file.read_bytes() == content  # whoever only looks leaves it alone


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_the_curve_reads_back_to_the_same_bits(value: float) -> None:
    run = Run(Path(os.environ.get("TMPDIR", "/tmp")))
    run.curve_file = run.directory / f"ravine-{os.getpid()}.csv"
    try:
        run.write_curve([{"epoch": 1, "loss": value}])
        header, row = run.curve_file.read_text().splitlines()
        assert header == "epoch,loss"
        read = float(row.split(",")[1])
        assert read == value or (math.isnan(read) and math.isnan(value))
    finally:
        run.curve_file.unlink()


def test_clearing_leaves_the_lock_alone(run: Run) -> None:
    with run.locked():
        for name in ("last.ckpt", "run.json", ".hydra/config.yaml"):
            (run.directory / name).parent.mkdir(exist_ok=True)
            (run.directory / name).write_text("")
        run.clear()
        assert [path.name for path in run.directory.iterdir()] == [".lock"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    replace_file(file, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"
