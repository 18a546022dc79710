from pathlib import Path

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
    found = {each.directory: each for each in unfinished(read(tmp_path).runs, "python -m src.train +study=x")}
    assert set(found) == {str(run.directory) for run in (failed, interrupted, broken)}
    first = found[str(failed.directory)]
    assert (first.status, first.reason) == ("failed", "out of memory")
    assert first.command == "python -m src.train optimizer=adam 'data.path=a b'"
    assert found[str(interrupted.directory)].command == "python -m src.train"
    assert found[str(broken.directory)].command == ""


def test_runs_that_were_not_begun_have_the_study_s_command(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    runs = read(tmp_path).runs.assign(status="to do")
    (found,) = unfinished(runs, "python -m src.train +study=x")
    assert (found.reason, found.command) == ("not begun", "python -m src.train +study=x")
