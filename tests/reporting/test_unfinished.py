import os
from dataclasses import replace
from pathlib import Path

import pytest

from src.reporting.unfinished import unfinished
from src.runs.dataframe import read
from tests.reporting.synthetic import cell


def test_unfinished_runs_are_listed_with_reason_and_command(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    failed, interrupted, broken = cell(tmp_path, "adam", 64, 0.05, [0.98] * 3)
    failed.update(status="failed", error="out of memory")
    interrupted.update(status="interrupted")
    broken.update(status="failed", error="out of memory")
    for run in (failed, interrupted, broken):
        (run.directory / ".hydra").mkdir()
    (failed.directory / ".hydra" / "overrides.yaml").write_text("- optimizer=adam\n- 'data.path=a b'\n")
    (interrupted.directory / ".hydra" / "overrides.yaml").write_text("[]\n")
    (broken.directory / ".hydra" / "overrides.yaml").write_bytes(b"\xff{")
    found = {each.directory: each for each in unfinished(read(tmp_path), "python -m src.train +study=x")}
    assert set(found) == {str(run.directory) for run in (failed, interrupted, broken)}
    first = found[str(failed.directory)]
    assert (first.status, first.reason) == ("failed", "out of memory")
    assert first.command == "python -m src.train optimizer=adam 'data.path=a b'"
    assert found[str(interrupted.directory)].command == "python -m src.train"
    assert found[str(broken.directory)].command == ""


def test_runs_that_were_not_begun_have_the_study_s_command(tmp_path: Path) -> None:
    begun, damaged = cell(tmp_path, "sgd", 64, 0.05, [0.98, 0.98])
    frames = read(tmp_path)
    frames = replace(frames, runs=frames.runs.assign(status="to do"), damaged={damaged.record_file: "not JSON"})
    found = {each.directory: each for each in unfinished(frames, "python -m src.train +study=x")}
    first = found[str(begun.directory)]
    assert (first.reason, first.command) == ("not begun", "python -m src.train +study=x")
    assert found[str(damaged.directory)].reason == "damaged: not JSON"


def test_commands_show_no_environment_and_pipes_do_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    runs = cell(tmp_path, "sgd", 64, 0.05, [0.98, 0.97])
    for run in runs:
        run.update(status="failed")
        (run.directory / ".hydra").mkdir()
    (runs[0].directory / ".hydra" / "overrides.yaml").write_text("- data.path=${oc.env:TOKEN}\n")
    os.mkfifo(runs[1].directory / ".hydra" / "overrides.yaml")
    one, other = unfinished(read(tmp_path), "")
    assert one.command == "python -m src.train 'data.path=${oc.env:TOKEN}'"
    assert (other.command, other.reason) == ("", "no error recorded")
