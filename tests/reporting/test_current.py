"""Which runs a report compares: those on the files, and by the code of the user's own, of the last run to end."""

from pathlib import Path

import pytest

from src.report import report
from src.reporting.left_out import OTHER_CODE, runs, tell
from tests.reporting.synthetic import cell, only

OLD, NEW = "2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00"
FUTURE = "9000-01-01T00:00:00+00:00"
A, B = ({"sha256": letter * 64} for letter in "ab")


@pytest.mark.parametrize("time", [FUTURE, FUTURE.partition("+")[0], "9", "not a time", "2026-13-01T00:00:00+00:00", 3])
def test_a_time_in_the_future_or_none_at_all_decides_nothing(time: object, tmp_path: Path) -> None:
    (stray,) = cell(tmp_path, "sgd", 64, 0.05, [0.9], of_data=A, ended=time)
    cell(tmp_path, "adam", 64, 0.05, [0.9], of_data=B, ended=OLD)
    assert only(tmp_path).on_other_files == (str(stray.directory),)


@pytest.mark.parametrize("began", [FUTURE, "not a time"])
def test_a_run_whose_end_is_not_recorded_is_as_old_as_its_beginning(began: str, tmp_path: Path) -> None:
    sessions = [{"began": began, "versions": {}}]
    (stray,) = cell(tmp_path, "sgd", 64, 0.05, [0.9], of_data=A, sessions=sessions)
    cell(tmp_path, "adam", 64, 0.05, [0.9], of_data=B)
    assert only(tmp_path).on_other_files == (str(stray.directory),)


def test_times_are_compared_across_time_zones(tmp_path: Path) -> None:
    """As texts, the first would be the later one."""
    (first,) = cell(tmp_path, "sgd", 64, 0.05, [0.9], of_data=A, ended="2026-01-02T10:00:00+09:00")
    cell(tmp_path, "adam", 64, 0.05, [0.9], of_data=B, ended="2026-01-02T05:00:00+00:00")
    assert only(tmp_path).on_other_files == (str(first.directory),)


def test_runs_by_other_code_than_the_newest_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, _ = cell(tmp_path, "sgd", 64, 0.05, [0.5, 0.6], model="mine.Net", code="1" * 16, ended=OLD)
    _, unknown = cell(tmp_path, "sgd", 256, 0.05, [0.9, 0.9], model="mine.Net", ended=OLD)  # by an earlier version
    (newest,) = cell(tmp_path, "adam", 64, 0.05, [0.9], model="mine.Net", code="2" * 16, ended=NEW)
    grid = only(tmp_path)
    assert grid.on_other_files == ()
    assert len(grid.on_other_code) == 2
    assert grid.cells["sgd", 64, 0.05].missing == (0, 1)
    assert str(unknown.directory) in grid.cells["sgd", 256, 0.05].runs.index
    assert list(grid.cells["adam", 64, 0.05].runs.index) == [str(newest.directory)]
    assert runs([grid])[old.directory] == OTHER_CODE
    tell({}, [grid], 0)
    line = capsys.readouterr().err
    assert line.startswith("2 runs left out, trained by other code of your own than the newest run: ")
    assert line.endswith("; force=true repeats them with the code as it is now\n")
    text = report([f"output_dir={tmp_path}"]).read_text()
    assert f"<li>{old.directory}: {OTHER_CODE}</li>" in text


def test_two_optimizers_of_your_own_are_not_two_versions_of_one(tmp_path: Path) -> None:
    """A digest covers all code of a run, so it differs between optimizers of which neither has changed."""
    first, _ = cell(tmp_path, "sgd", 64, 0.05, [0.9, 0.9], of_class="mine.One", code="1" * 16, ended=OLD)
    cell(tmp_path, "adagrad", 64, 0.05, [0.9, 0.9], of_class="mine.Other", code="2" * 16, ended=NEW)
    cell(tmp_path, "adam", 64, 0.05, [0.9, 0.9], ended=NEW)
    assert only(tmp_path).on_other_code == ()
    sessions = [first.record()["sessions"][0] | {"code": "3" * 16}]
    first.update(sessions=sessions, ended=NEW)
    assert len(only(tmp_path).on_other_code) == 1


def test_a_class_within_an_argument_counts_too(tmp_path: Path) -> None:
    from dataclasses import replace

    from src.config.settings import ConfigChoices, Settings
    from tests.reporting.synthetic import write

    (plain,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    settings = Settings(**plain.record()["settings"])
    for name, code in (("mine.One", "1"), ("mine.Other", "2")):
        wrapped = replace(settings, optimizer={"_target_": "torch.optim.SGD", "base": {"_target_": name}})
        write(tmp_path, wrapped, ConfigChoices("lenet", name, "constant"), 0.9, code=code * 16)
    assert only(tmp_path).on_other_code == ()
