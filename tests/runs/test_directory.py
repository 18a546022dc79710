import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.files import Damaged, replace_file, set_aside
from src.runs.directory import Run
from src.runs.record import parse_curve
from tests.reporting.synthetic import cell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    return run


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert Run(tmp_path).record() == {}
    assert not Run(tmp_path).ended
    assert Run(tmp_path).damage() == {}


def test_fields_are_added(run: Run) -> None:
    before = run.record()
    run.update(status="failed", error="broken", later="a field of another version")
    assert run.record() == before | {"status": "failed", "error": "broken", "later": "a field of another version"}


@pytest.mark.parametrize("status", ["running", "failed", "interrupted", "finished", "diverged"])
def test_only_finished_and_diverged_runs_have_ended(status: str, run: Run) -> None:
    run.update(status=status)
    assert run.ended == (status in ("finished", "diverged"))


def test_a_record_copied_from_another_run_is_damaged(run: Run, tmp_path: Path) -> None:
    """The record of another seed has figures that do not belong to this run."""
    one, other = cell(tmp_path / "two", "sgd", 64, 0.05, [0.9, 0.8])
    other.record_file.write_bytes(one.record_file.read_bytes())
    assert not other.ended
    assert f"its settings are those of run {one.digest}" in other.damage()[other.record_file]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_the_curve_reads_back_to_the_same_bits(value: float) -> None:
    run = Run(Path(os.environ.get("TMPDIR", "/tmp")))
    run.curve_file = run.directory / f"ravine-{os.getpid()}.csv"
    row = {"epoch": 1.0, "train_loss": value, "train_accuracy": 0.1, "test_loss": value, "test_accuracy": 0.2}
    try:
        run.write_curve([row | {"updates": 3.0, "seconds": 0.5}])
        (read,) = parse_curve(run.curve_file.read_bytes())
        assert read["test_loss"] == value or (math.isnan(read["test_loss"]) and math.isnan(value))
    finally:
        run.curve_file.unlink()


def test_replacing_keeps_the_lock_and_the_targets_of_links(run: Run, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("kept")
    with run.locked():
        (run.directory / ".hydra").mkdir()
        (run.directory / "folder").symlink_to(theirs)
        (run.directory / "file").symlink_to(theirs / "file")
        (run.directory / "nowhere").symlink_to(theirs / "nothing")
        os.mkfifo(run.directory / "pipe")
        run.stage()
        run.write({"new": True})
        assert len(list(run.directory.iterdir())) == 9
        run.adopt()
        assert sorted(path.name for path in run.directory.iterdir()) == [".lock", "run.json"]
    assert run.record_file == run.directory / "run.json"
    assert (theirs / "file").read_text() == "kept"


@pytest.mark.parametrize("moves", range(8))
def test_a_replacement_that_is_killed_leaves_one_training_or_the_other(
    moves: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = {"run.json": "old", "metrics.csv": "old", "last.ckpt": "old"}, {"run.json": "new", "last.ckpt": "new"}
    left = iter(range(moves))

    def until_killed(function: Any) -> Any:
        def called(*arguments: Any, **keywords: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return function(*arguments, **keywords)

        return called

    with run.locked():
        for name, text in old.items():
            (run.directory / name).write_text(text)
        run.stage()
        for name, text in new.items():
            (run.folder / name).write_text(text)
        with monkeypatch.context() as patched:
            for name in ("rename", "unlink", "rmdir"):
                patched.setattr(Path, name, until_killed(getattr(Path, name)))
            with suppress(KeyboardInterrupt):
                run.adopt()
    with Run(run.directory).locked():
        found = {path.name: path.read_text() for path in run.directory.iterdir() if path.name != ".lock"}
    assert found == (old if moves == 0 else new)


def test_a_staged_training_that_was_not_adopted_leaves_the_old_files(run: Run) -> None:
    with run.locked():
        run.write({"old": True})
        run.stage()
        run.write({"new": True})
    again = Run(run.directory)
    with again.locked():
        assert json.loads(again.record_file.read_text()) == {"old": True}
        assert sorted(path.name for path in run.directory.iterdir()) == [".lock", "metrics.csv", "run.json"]


def test_a_failed_write_keeps_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    replace_file(file, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(file, b"new")
    assert caught.value.filename == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"


def test_the_target_of_a_linked_lock_is_not_emptied(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    (run.directory / ".lock").unlink(missing_ok=True)
    (run.directory / ".lock").symlink_to(target)
    assert not run.held
    with run.locked():
        assert run.held
    assert target.read_text() == "mine"
    assert (run.directory / ".lock.damaged").is_symlink()


def test_a_lock_that_is_a_folder_is_renamed(run: Run) -> None:
    (run.directory / ".lock").unlink(missing_ok=True)
    (run.directory / ".lock").mkdir()
    with run.locked():
        assert (run.directory / ".lock").is_file()


@pytest.mark.parametrize("kind", ["link", "file"])
def test_hydras_files_are_written_into_a_folder_of_the_run(kind: str, run: Run, tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", run.directory / ".hydra"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere) if kind == "link" else folder.write_text("")
    hydra = OmegaConf.create({"overrides": {"task": ["lr=0.05"]}})
    run.write_hydra_files(OmegaConf.create({"lr": 0.05}), hydra)
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert not folder.is_symlink()
    assert list(elsewhere.iterdir()) == []
    assert (run.directory / ".hydra.damaged").exists()


def test_a_write_does_not_follow_links(tmp_path: Path) -> None:
    theirs, file = tmp_path / "theirs", tmp_path / "file"
    theirs.write_text("kept")
    (tmp_path / ".file.partial").symlink_to(theirs)
    file.symlink_to(theirs)
    replace_file(file, b"new")
    assert theirs.read_text() == "kept"
    assert not file.is_symlink()
    assert file.read_bytes() == b"new"


def test_a_write_renames_a_folder_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "file" / "within").mkdir(parents=True)
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file.damaged" / "within").is_dir()


def test_a_second_damaged_file_does_not_replace_the_first(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "file").write_text(content)
        set_aside(tmp_path / "file")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "file.damaged": "one",
        "file.damaged1": "two",
    }


@pytest.mark.parametrize("content", ["epoch\n1\n", "epoch,train_loss\n1,a\n", "a\0b\n", "epoch\n1,2,3\n"])
def test_a_curve_without_its_figures_is_damaged(content: str) -> None:
    with pytest.raises(Damaged):
        parse_curve(content.encode())
