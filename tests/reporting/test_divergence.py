"""One rule for diverged runs: each counts as guessing, and their number stands beside each figure that it touches."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from src.report import report
from src.reporting import charts, tables
from src.reporting.answers import answers, needed
from src.reporting.assignment.claims import claims
from src.reporting.assignment.evidence import best_lrs, learnt, robustness
from src.reporting.chapter import chapters
from src.reporting.comparisons import compare_all, paired
from src.reporting.figures import epochs_and_updates, loss_curves, seconds_to, time_to_accuracy
from src.reporting.heat_map import HeatMap
from src.reporting.limits import Limits
from src.reporting.section import Section, sentences
from src.runs.dataframe import read
from tests.reporting.synthetic import cell, only
from tests.reporting.test_limits import probed

SHARES = {"largest_class": {"train": 0.112, "validation": 0.12, "test": 0.1135}}
ONE_LOST: list[Any] = [*[0.99] * 19, None]  # of 20 seeds, mean (19 x 0.99 + 0.1) / 20 = 0.9455
BESIDE = "1 of 20 diverged"


def test_means_count_a_diverged_run_as_guessing(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.97, None, 0.99], validation=[0.96, 0.5, 0.98], of_data=SHARES)
    grid = only(tmp_path)
    (found,) = grid.cells.values()
    assert found.values("test_accuracy") == {0: 0.97, 1: 0.1135, 2: 0.99}
    assert found.values("train_accuracy")[1] == 0.112
    estimate = found.estimate("test_accuracy")
    assert estimate
    assert estimate.n == 3
    assert estimate.value == pytest.approx((0.97 + 0.1135 + 0.99) / 3)
    loss = found.estimate("test_loss")
    assert loss
    assert loss.value == pytest.approx((0.05 + math.log(10) + 0.05) / 3)  # a synthetic run ends at 1 / 20
    assert grid.score(found) == pytest.approx((0.96 + 0.12 + 0.98) / 3)
    assert list(found.runs.test_accuracy) == [0.97, 0.1135, 0.99]
    assert found.runs.test_loss.tolist() == [0.05] * 3  # the frame keeps what was measured
    row = tables.numbers(grid).iloc[0]
    assert row.test_accuracy == estimate.value
    assert (row.finished, row.diverged) == (2, 1)


def test_without_the_share_of_the_largest_class_guessing_is_one_of_the_classes(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.9, None], of_data={"classes": ["a", "b", "c", "d"]})
    (found,) = only(tmp_path).cells.values()
    assert found.values("test_accuracy")[1] == 0.25
    assert found.values("test_loss")[1] == pytest.approx(math.log(4))


@pytest.mark.parametrize(("rival", "best"), [(0.94, 0.05), (0.95, 0.005)])
def test_one_diverged_seed_of_20_lowers_a_cell_and_does_not_bar_it(rival: float, best: float, tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, ONE_LOST)
    cell(tmp_path, "sgd", 64, 0.005, [rival] * 20)
    found = only(tmp_path).best_cell
    assert found
    assert found.key[2] == best


def test_a_cell_of_which_no_run_finished_has_no_figure_and_is_not_chosen(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [None, None])
    cell(tmp_path, "sgd", 64, 0.005, [0.05, 0.05])  # worse than guessing
    grid = only(tmp_path)
    lost = grid.cells["sgd", 64, 0.05]
    assert lost.estimate("test_accuracy") is None
    assert not lost.at_chance
    assert tables.text(grid, lost) == tables.told(lost, "test_accuracy") == "2 of 2 diverged"
    assert HeatMap(grid).marks(lost) == ["\N{MULTIPLICATION SIGN} 2 of 2 diverged"]
    assert math.isnan(tables.numbers(grid).test_accuracy[0])
    assert [best.key[2] for best in grid.best_cells] == [0.005]


def test_guessing_the_largest_class_is_at_chance(tmp_path: Path) -> None:
    skewed = {"largest_class": {"test": 0.3}}
    cell(tmp_path, "sgd", 64, 0.05, [0.3, None, None], of_data=skewed)
    cell(tmp_path, "sgd", 64, 0.005, [0.31, 0.3, 0.3], of_data=skewed)
    found = only(tmp_path).cells
    assert [each.at_chance for each in found.values()] == [True, False]
    assert HeatMap(only(tmp_path)).chance == 0.3


def test_colours_reach_down_to_the_lowest_mean(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.9, None])
    cell(tmp_path, "sgd", 64, 0.005, [0.8, 0.8])
    heat_map = HeatMap(only(tmp_path))
    assert heat_map.bounds("test") == ("50.00", "90.00")
    tiles = {tile.seed: tile for tile in heat_map.tiles(heat_map.grid.cells["sgd", 64, 0.05]) if tile.split == "test"}
    assert tiles["all"].background == heat_map.ramp[0]
    assert tiles["1"].text == "\N{EM DASH}"  # a run of its own has no mean


def test_a_diverged_run_never_reaches_an_accuracy(tmp_path: Path) -> None:
    """Two of three runs reach 98 %, in epochs 2 and 4; the second of them diverged later."""
    curves = [[0.5, *[0.99] * 19], [0.5, 0.5, 0.5, *[0.99] * 17], [0.9] * 20]
    _, lost, _ = runs = cell(tmp_path, "sgd", 64, 0.05, curves)
    (found,) = only(tmp_path).cells.values()
    assert needed(found, 0.98) == ["4", "40", "8.0"]
    lost.update(status="diverged")
    (found,) = only(tmp_path).cells.values()
    assert list(found.reached(0.98).values()) == [2, None, None]
    assert seconds_to(found, 0.98) == {
        str(run.directory): each for run, each in zip(runs, (4.0, math.inf, math.inf), strict=True)
    }
    assert needed(found, 0.98) == ["never"] * 3
    shown = charts.tables(only(tmp_path), tables.numbers(only(tmp_path)))["times"]
    assert shown["seed"] == [0, 1, 2] * 2
    assert shown["seconds"][:3] == [4.0, None, None]


def test_tests_use_all_seeds_that_ended_in_both_cells(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98, 0.97, None])
    cell(tmp_path, "adam", 64, 0.05, [0.96, None, 0.96])
    one, other = only(tmp_path).cells.values()
    difference = paired(one, other)[0].difference
    assert difference.n == 3
    assert difference.value == pytest.approx((0.02 + 0.87 - 0.86) / 3)


@pytest.mark.parametrize("kept", [4_000, 9_000])  # images that the diverged run was right about when it was stopped
def test_with_one_shared_seed_a_diverged_run_predicts_the_largest_class(kept: int, tmp_path: Path) -> None:
    """The largest class is 7, with 4,000 of 10,000 images; the other run errs on 100 images, of class 0."""
    labels = np.repeat([0, 1, 7], [2_999, 3_001, 4_000]).astype(np.uint8)
    predictions = np.where(np.arange(10_000) < 100, 9, labels).astype(np.uint8)
    shares = {"largest_class": {"test": 0.4}}
    (good,) = cell(tmp_path, "sgd", 64, 0.05, [0.99], of_data=shares)
    good.write_predictions(predictions, labels, 10)
    lost, *_ = cell(tmp_path, "adam", 64, 0.05, [None, 0.995], of_data=shares)
    lost.write_predictions(np.where(np.arange(10_000) < kept, labels, 9).astype(np.uint8), labels, 10)
    (pair,) = compare_all(only(tmp_path).best_cells)
    found = pair.comparison.difference
    assert found.n == 1
    assert found.value == pytest.approx(0.99 - 0.4)  # the accuracies that are reported
    assert pair.comparison.p == pytest.approx(stats.binomtest(0, 5_900).pvalue)


def test_answers_say_how_many_diverged(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, ONE_LOST)
    cell(tmp_path, "sgd", 64, 0.005, [0.9] * 20)
    cell(tmp_path, "adam", 256, 0.05, [0.9] * 20)
    cell(tmp_path, "adam", 256, 0.005, [0.89] * 20)
    lr, optimizer, batch = answers(only(tmp_path))
    assert lr.answer == f"sgd 0.05 ({BESIDE}), adam 0.05"
    assert lr.rows[0][1] == f"0.05 ({BESIDE})"
    assert optimizer.rows[0][1].endswith(f" ({BESIDE})")
    assert optimizer.rows[1][1] == "90.00 \N{PLUS-MINUS SIGN} 0.00" or optimizer.rows[1][1] == "90.00"
    assert optimizer.answer.startswith(f"sgd ({BESIDE})")
    assert optimizer.evidence[0].startswith(f"sgd ({BESIDE}) minus adam: ")
    assert batch.evidence[-1].endswith("; a diverged run never gets there.")


def test_summary_ranking_tables_and_limits_say_how_many_diverged(tmp_path: Path) -> None:
    for run in cell(tmp_path, "sgd", 64, 0.05, ONE_LOST):
        probed(run, 1.0, 100.0, 1.0)
    cell(tmp_path, "sgd", 64, 0.005, [0.9] * 20)
    grid = only(tmp_path)
    section = Section(grid, grid)
    (best,) = [each for each in sentences(section) if each.startswith("Best cell")]
    assert "sgd, batch 64, lr 0.05 with 94" in best
    assert f" % ({BESIDE})." in best
    assert "of which 1 diverged and counts as guessing." in sentences(section)[0]
    (chapter,) = chapters([section])
    assert chapter.ranking[0][1][-1].endswith(f" ({BESIDE})")
    table = tables.of_optimizer(grid, "sgd")
    assert table["lr 0.05"][0].endswith(f" (n=20), {BESIDE}")
    assert BESIDE in tables.markdown(table)
    assert BESIDE in tables.latex([("", table)])
    assert tables.legend(grid).endswith("A diverged run counts as guessing.")
    assert BESIDE in " ".join(Limits(grid).sentences)


def test_legends_say_how_many_diverged(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, ONE_LOST)
    grid = only(tmp_path)
    for figure in (loss_curves(grid, "sgd"), epochs_and_updates(grid)):
        lines = figure.axes[0].lines
        assert str(lines[0].get_label()).endswith(f" ({BESIDE})")
        assert len(lines) == 2  # the mean of the finished runs, and the diverged one
    labels = [each.get_text() for each in time_to_accuracy(grid).axes[0].get_yticklabels()]
    assert labels == [f"sgd, batch 64, lr 0.05 ({BESIDE})"]
    found = charts.tables(grid, tables.numbers(grid))
    assert set(found["runs"]["diverged"]) == set(found["times"]["diverged"]) == {"1 of 20"}
    tips = [each["field"] for each in charts.charts(grid)["curves"][1]["spec"]["layer"][-2]["encoding"]["tooltip"]]
    assert "diverged" in tips


def lost(output: Path, optimizer: str, batch: int, lr: float, accuracy: float, of: int = 10, **more: Any) -> None:
    """Write runs of which the last diverged."""
    cell(output, optimizer, batch, lr, [*[accuracy] * (of - 1), None], **more)


def test_claims_count_diverged_runs_and_say_how_many(tmp_path: Path) -> None:
    for optimizer in ("sgd", "adagrad", "adam"):
        for batch in (64, 256):
            lost(tmp_path, optimizer, batch, 0.05, 0.97)
            lost(tmp_path, optimizer, batch, 0.0005, 0.98)
            lost(tmp_path, optimizer, batch, 5e-7, 0.5)
    for schedule in ("step", "grow_batch"):
        lost(tmp_path, "sgd", 64, 0.05, 0.99, schedule=schedule)
    grid = only(tmp_path)
    assert learnt(grid, "sgd", 64, 0.05)  # mean (9 x 0.97 + 0.1) / 10 = 0.883
    assert learnt(grid, "sgd", 64, 5e-7) is None  # 0.46
    scores = robustness(grid, "adam")
    assert scores[0] == pytest.approx((0.97 + 0.98 + 0.5) / 3)
    assert scores[9] == pytest.approx(0.1)
    tiny, rise, smaller, gain, _, robust, growing = claims(grid)
    assert "sgd, batch 64: 46" in tiny.numbers
    assert "1 of 10 diverged" in tiny.numbers
    assert "sgd, lr 0.05 and 0.0005 (4 of 40 diverged): " in rise.numbers
    assert "sgd, lr 0.05 (2 of 20 diverged): " in smaller.numbers
    assert gain.verdict == "cannot be told"
    assert gain.numbers.startswith("sgd: 1 of 10 diverged; adagrad: 1 of 10 diverged; adam: 1 of 10 diverged; ")
    assert "adam less sgd (12 of 120 diverged): " in robust.numbers
    assert "counted as guessing" in robust.test
    assert "points (2 of 20 diverged) (n=10)" in growing.numbers
    assert best_lrs(grid, [64]).startswith("Best lr on the test set: sgd, batch 64: 0.0005 (1 of 10 diverged); ")


@pytest.mark.parametrize(
    ("optimizer", "verdict"), [("", "holds"), *((each, "cannot be told") for each in ("sgd", "adagrad", "adam"))]
)
def test_what_a_diverged_run_gained_cannot_be_told(optimizer: str, verdict: str, tmp_path: Path) -> None:
    for each, early in (("sgd", 0.5), ("adagrad", 0.98), ("adam", 0.98)):
        *_, last = cell(tmp_path, each, 256, 0.0005, [[early] * 5 + [0.98] * 15] * 3)
        if each == optimizer:
            last.update(status="diverged")
    claim = claims(only(tmp_path))[3]
    assert claim.verdict == verdict
    assert (f"{optimizer}: 1 of 3 diverged" in claim.numbers) == bool(optimizer)


def test_a_batch_that_grows_until_all_runs_diverge_is_not_equivalent(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.99, 0.98, 0.99], schedule="step")
    cell(tmp_path, "sgd", 64, 0.05, [None] * 3, schedule="grow_batch")
    claim = claims(only(tmp_path))[6]
    assert claim.verdict == "does not hold"
    assert "3 of 6 diverged" in claim.numbers


def test_the_page_and_the_files_say_how_many_diverged(tmp_path: Path) -> None:
    lost(tmp_path, "sgd", 64, 0.05, 0.98)
    lost(tmp_path, "sgd", 256, 0.05, 0.97)
    page = report([f"output_dir={tmp_path}"])
    text = page.read_text()
    beside = text.partition("Comparison with the assignment")[2].partition("</table>")[0]
    assert beside.count("1 of 10 diverged") == 2 * 2  # train and test
    assert "too noisy to tell" in beside
    pairs = text.partition("Pairwise comparisons")[2].partition("</table>")[0]
    assert "sgd, batch 64, lr 0.05 (1 of 10 diverged)" in pairs
    assert "diverged 1/10" not in text
    for name in ("summary.txt", "tables.md", "tables.tex", "claims.csv"):
        assert "1 of 10 diverged" in (page.parent / name).read_text(), name
    runs = read(tmp_path).runs
    assert (runs.test_accuracy[runs.status == "diverged"] == 0.1135).all()  # frames are as measured
