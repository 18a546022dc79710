"""The command `python -m src.report`, and the files it writes."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from src.config.selection import select
from src.errors import UserError, exit_code, one_line
from src.range_test.files import write_json
from src.range_test.result import Result
from src.range_test.row import rows
from src.report import report
from src.runs.range_tests import range_test_file
from tests.helpers.commands import ROOT, Command, environment
from tests.helpers.warm import WarmCommands
from tests.reporting.synthetic import cell, write


@pytest.fixture
def run_report(warm: WarmCommands) -> Command:
    """`python -m src.report ...`, forked from a warm process."""
    return lambda *arguments: warm.run("src.report", arguments, environment(ROOT))


def assignment(output: Path, *overrides: str) -> int:
    """Write the assignment's runs, equally good in all cells; return their number."""
    runs = select(["+study=assignment", *overrides]).runs
    for settings, names in runs:
        write(output, settings, names, 0.98 + settings.seed / 1000)
    return len(runs)


def test_a_study_is_reported_whole(tmp_path: Path, run_report: Command) -> None:
    assert assignment(tmp_path, "seed=0,1") == 36
    cell(tmp_path, "sgd", 64, 0.7, [0.5])  # not in the study
    ended = run_report("+study=assignment", f"output_dir={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "lenet on mnist, 20 epochs: 36 runs in 18 cells of 2 seeds." in ended.stdout
    folder = tmp_path / "reports" / "assignment"
    assert sorted(path.name for path in folder.iterdir()) == [
        "beside.csv", "cells.csv", "claims.csv", "curves.csv", "curves.parquet", "figures",
        "index.html", "pairs.csv", "runs.csv", "runs.parquet", "summary.txt", "tables.md", "tables.tex", "variance.csv",
    ]  # fmt: skip
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert {
        "loss-sgd",
        "loss-adagrad",
        "loss-adam",
        "lr-sensitivity",
        "epochs-and-updates",
        "time-to-accuracy",
    } == names
    assert len(list((folder / "figures").iterdir())) == 3 * len(names)
    page = (folder / "index.html").read_text()
    assert len(page) < 5e6
    assert not re.findall(r'src="(?!data:)|@import|url\((?!#)', page.partition("<script")[0])  # self-contained
    for linked in re.findall(r'href="([^"#]+)"', page.partition("<script")[0]):
        assert (folder / unquote(linked)).exists(), linked
    anchors = set(re.findall(r'href="#(cell-\w+)"', page))
    assert len(anchors) == 18
    assert all(f'id="{anchor}"' in page for anchor in anchors)
    assert [path.name for path in (tmp_path / "reports").iterdir() if path.name != ".lock"] == ["assignment"]


def test_range_tests_are_checked_and_damaged_ones_named(tmp_path: Path, run_report: Command) -> None:
    """The made losses fall steepest at lr 3e-4 and rise from 3e-3 on; only SGD's best lr of the grid lies between."""
    selection = select(["+study=assignment", f"output_dir={tmp_path}"])
    best = {"sgd": 5e-4, "adagrad": 0.05, "adam": 5e-7}
    for settings, names in selection.runs:
        write(tmp_path, settings, names, 0.98 if settings.lr == best[names.optimizer] else 0.9)
    lrs = np.geomspace(1e-7, 10, 500)
    losses = 2.3 - 2 / (1 + (3e-4 / lrs) ** 4) + 9 / (1 + (1e-2 / lrs) ** 4)
    for row in rows(selection):
        write_json(Result(row, lrs, [losses], "a" * 64))
    ended = run_report("+study=assignment", f"output_dir={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    told = "of 6 intervals, 2 contain the best, 2 lie below the best, 2 lie above the best."
    assert f"Learning rate range tests compared with this grid's best lr: {told}" in ended.stdout
    folder = tmp_path / "reports" / "assignment"
    verdicts = pd.read_csv(folder / "range_checks.csv").groupby("optimizer").verdict.unique()
    assert verdicts.map(list).to_dict() == {
        "adagrad": ["lies below the best"], "adam": ["lies above the best"], "sgd": ["contains the best"],
    }  # fmt: skip
    page = (folder / "index.html").read_text()
    assert "Learning rate range tests, checked" in page

    damaged = range_test_file(tmp_path, *selection.runs[0])
    damaged.write_text(damaged.read_text().replace('"seed": 0', '"seed": -1'))
    ended = run_report("+study=assignment", f"output_dir={tmp_path}")
    assert ended.returncode == 0
    assert str(damaged) in ended.stderr
    assert "of 5 intervals" in ended.stdout


def test_a_report_needs_no_torch() -> None:
    subprocess.run(
        [sys.executable, "-c", "import src.report, sys; assert 'torch' not in sys.modules"], cwd=ROOT, check=True
    )


def test_missing_runs_are_named_with_the_command_that_trains_them(tmp_path: Path, run_report: Command) -> None:
    assignment(tmp_path, "optimizer=sgd,adagrad", "seed=0,1")
    ended = run_report("+study=assignment", f"output_dir={tmp_path}")
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"12 of 36 runs are missing in {tmp_path}: adam batch 64 lr 0.05 seed 0, ")
    command = f"python -m src.train +study=assignment output_dir={tmp_path} seed=0,1"
    assert f"train them with `{command}`; or leave them out with allow_missing=true" in line
    assert not (tmp_path / "reports").exists()
    asked = select(command.split()[3:]).runs
    assert len(asked) == 36  # the named command trains the study
    ended = run_report("+study=assignment", f"output_dir={tmp_path}", "allow_missing=true")
    assert ended.returncode == 0, ended.stderr
    assert "24 runs in 18 cells of 0 to 2 seeds; 12 are missing." in ended.stdout
    page = (tmp_path / "reports" / "assignment" / "index.html").read_text()
    unfinished = page.partition('id="unfinished"')[2].partition("</table>")[0]
    assert unfinished.count("<td>not begun</td>") == 12
    assert unfinished.count(f"<code>{command}</code>") == 12


def test_the_named_command_trains_the_missing_runs(train: Command, outputs: Path, run_report: Command) -> None:
    ended = run_report("-m", "model=mlp", "optimizer=sgd,adam", "data=mnist", "epochs=1", f"output_dir={outputs}")
    command = ended.stderr.partition("`")[2].partition("`")[0].split()
    assert command[:4] == ["python", "-m", "src.train", "-m"]
    assert train(*command[3:]).returncode == 0
    assert (
        run_report(
            "-m", "model=mlp", "optimizer=sgd,adam", "data=mnist", "epochs=1", f"output_dir={outputs}"
        ).returncode
        == 0
    )


def test_other_data_files_in_another_grid_do_not_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assignment(tmp_path, "optimizer=sgd", "batch_size=64", "lr=0.05")
    cell(tmp_path, "sgd", 64, 0.05, [0.9], epochs=2)
    (other,) = cell(tmp_path, "adam", 64, 0.05, [0.9], epochs=2)
    other.update(data=other.record()["data"] | {"sha256": "b" * 64})
    page = report(["optimizer=sgd", "data=mnist", "lr=0.05", f"output_dir={tmp_path}"])
    assert "1 run in 1 cell of 1 seed" in page.read_text()
    assert capsys.readouterr().err == ""
    page = report([f"output_dir={tmp_path}"])
    *progress, line = capsys.readouterr().err.splitlines()
    assert [each.partition(":")[0] for each in progress] == ["drawing 1 of 2", "drawing 2 of 2"]
    assert line.startswith("1 run left out, trained on other data files than the newest run: ")
    assert line.endswith("; force=true repeats them on the current files")
    assert "1 run in 2 cells of 0 to 1 seed; 1 is missing." in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["+study=nonsense"], "study=nonsense: there is no such study; choose one of: assignment"),
        (["allow_missing=perhaps"], "allow_missing=perhaps: must be allow_missing=true or allow_missing=false"),
        (["optimizr=sgd"], "optimizr: there is no such key; did you mean optimizer?"),
        (["data=mnist,digits"], "data=digits,mnist: a report of a study covers one data set; give one"),
        ([], "contains no ended run; train one with python -m src.train, or choose another folder with output_dir="),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments: list[str], says: str, tmp_path: Path, run_report: Command
) -> None:
    ended = run_report(*arguments, f"output_dir={tmp_path}")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert says in line
    assert list(tmp_path.iterdir()) == []


def test_each_data_set_has_its_own_section(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98, 0.97])
    cell(tmp_path, "sgd", 64, 0.05, [0.88], data="fashion_mnist", epochs=3)
    (damaged,) = cell(tmp_path, "sgd", 64, 0.01, [0.98])
    damaged.record_file.write_text("{")
    page = report([f"output_dir={tmp_path}"])
    text = page.read_text()
    assert "<h2>lenet on mnist, 20 epochs</h2>" in text
    assert "<h2>lenet on fashion_mnist, 3 epochs</h2>" in text
    assert f"{damaged.record_file}: not JSON" in text
    assert (page.parent / "1-tables.md").exists()
    assert (page.parent / "2-tables.md").exists()


def test_a_failed_report_keeps_the_previous_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    page = report([f"output_dir={tmp_path}"])
    before = page.read_bytes()
    monkeypatch.setattr("src.reporting.page.draw_figures", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report([f"output_dir={tmp_path}"])
    assert page.read_bytes() == before
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"all", ".lock"}


def test_damaged_runs_are_counted_and_the_first_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = cell(tmp_path, "sgd", 64, 0.05, [0.98] * 8)
    for run in runs[1:]:
        run.record_file.write_text("{")
    page = report([f"output_dir={tmp_path}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"7 damaged files left out: {runs[1].record_file}: ")
    assert [run.directory.name in line for run in runs] == [False, *[True] * 5, False, False]
    assert " and 2 more; repeating the run's command renames a damaged run.json" in line
    assert "1 run in 1 cell of 1 seed." in page.read_text()


def test_only_damaged_runs_gives_another_error_than_no_runs(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.98])
    run.record_file.write_text("{")
    with pytest.raises(UserError, match=r"contains no readable ended run; damaged: .*run\.json: "):
        report([f"output_dir={tmp_path}"])
    assert not (tmp_path / "reports").exists()


def test_a_damaged_run_of_the_study_is_not_just_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["+study=assignment", f"output_dir={tmp_path}", "optimizer=sgd", "batch_size=64"]
    assignment(tmp_path, "optimizer=sgd", "batch_size=64")
    (_, damaged, _) = sorted(tmp_path.glob("*/*/*/run.json"))
    damaged.write_text("{")
    (unrelated,) = cell(tmp_path, "adam", 64, 0.5, [0.98])
    unrelated.record_file.write_text("{")
    with pytest.raises(UserError, match="1 of 3 runs is missing in ") as error:
        report(words)
    assert f", of which damaged: {damaged}: " in str(error.value)
    assert str(unrelated.directory) not in str(error.value)
    report([*words, "allow_missing=true"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"1 damaged file left out: {damaged}: ")
    assert str(unrelated.directory) not in line


def test_a_damaged_run_of_a_seed_that_no_other_has_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["+study=assignment", f"output_dir={tmp_path}", "optimizer=sgd", "batch_size=64", "lr=0.05"]
    assignment(tmp_path, *words[2:], "seed=0,1")
    (*_, damaged) = sorted(tmp_path.glob("*/*/*seed1*/run.json"))
    damaged.write_text("{")
    with pytest.raises(UserError, match="1 of 2 runs is missing in ") as error:
        report(words)
    assert str(damaged) in str(error.value)
    report([*words, "allow_missing=true"])
    assert str(damaged) in capsys.readouterr().err


def test_damaged_predictions_are_named_once_and_do_not_stop_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (damaged,) = cell(tmp_path, "sgd", 64, 0.05, [0.98])
    os.mkfifo(damaged.predictions_file)
    for optimizer in ("adagrad", "adam"):
        cell(tmp_path, optimizer, 64, 0.05, [0.97])
    page = report([f"output_dir={tmp_path}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"1 damaged file left out: {damaged.predictions_file}: not a regular file; ")
    assert "no test: the predictions cannot be read" in page.read_text()
    assert f"{damaged.predictions_file}: not a regular file" in page.read_text()


@pytest.mark.parametrize("words", [[], ["+study='assignment'", "-m", "allow_missing=True"]])
def test_overrides_mean_the_same_as_for_train(words: list[str], tmp_path: Path) -> None:
    output = tmp_path / "a=b, ~c 'd'"
    runs = select(["+study=assignment", "optimizer=sgd", "lr=0.05"]).runs
    for settings, names in runs:
        write(output, settings, names, 0.98)
    page = report(["--multirun", f'output_dir="{output}"', *words])
    assert page == output / "reports" / ("assignment" if words else "all") / "index.html"
    assert "2 runs in " in page.read_text()


@pytest.mark.parametrize(
    "argument",
    [
        "output_dir=", "output_dir=''", "output_dir=null", "output_dir=a,b", "output_dir=[a]", "~output_dir",
        "+output_dir=a", "output_dir=a=b", "output_dir=~/a", "output_dir='${oc.env:NO_SUCH_VARIABLE}'",
        "allow_missing=1", "allow_missing='true'", "allow_missing=", "~allow_missing", "+study=assignment,claims",
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [[], ["optimizer=sgd"]])
def test_a_wrong_override_is_named(
    argument: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match=r".") as error:
        report([*more, argument])
    assert exit_code(error.value) == 2
    line = one_line(error.value)
    assert len(line.splitlines()) == 1
    assert argument.strip("~+").partition("=")[0] in line
    assert list(tmp_path.iterdir()) == []


def test_an_output_directory_that_is_not_utf8_is_printed(tmp_path: Path, run_report: Command) -> None:
    output = tmp_path / os.fsdecode(b"out\xff")
    cell(output, "sgd", 64, 0.05, [0.98])
    ended = run_report(f'output_dir="{output}"')
    assert ended.returncode == 0, ended.stderr
    assert rf"page      {tmp_path}/out\udcff/reports/all/index.html" in ended.stdout


def test_real_runs_are_reported(train: Command, outputs: Path, run_report: Command) -> None:
    swept = ("-m", "data=mnist", "model=mlp", "optimizer=sgd,adam", "seed=0,1", "epochs=2")
    assert train(*swept).returncode == 0
    ended = run_report(*swept, f"output_dir={outputs}")
    assert ended.returncode == 0, ended.stderr
    assert "mlp on mnist, hidden [80, 40, 20], 2 epochs: 4 runs in 2 cells of 2 seeds." in ended.stdout
    one = ("model=mlp", "optimizer=sgd", "data=mnist", "epochs=2", "seed=0")
    assert "1 run in 1 cell of 1 seed." in run_report(*one, f"output_dir={outputs}").stdout
