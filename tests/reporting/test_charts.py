"""Charts: their tables are those of the report's files, and Vega-Lite compiles their specifications."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import vl_convert

from src.reporting import charts, tables
from src.reporting.chapter import chapters
from src.reporting.grid import grids
from src.reporting.scatter import scatter, trials
from src.reporting.section import Section
from src.runs.dataframe import read
from tests.reporting.synthetic import cell


def rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def drawn(spec: dict[str, Any], found: dict[str, dict[str, list[Any]]]) -> str:
    """The chart as SVG, drawn by Vega itself."""
    runs = rows(found.get("runs", {}))
    joined = {name: rows(columns) for name, columns in found.items()}
    joined["curves"] = [runs[row["run"]] | row for row in joined.get("curves", [])]
    return str(vl_convert.vegalite_to_svg(spec | {"datasets": joined}))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for optimizer in ("sgd", "adam"):
        for batch in (64, 256):
            cell(tmp_path, optimizer, batch, 0.05, [[0.5, *[0.98] * 19], None])
            cell(tmp_path, optimizer, batch, 0.0005, [[0.6, *[0.971] * 19], [0.6, *[0.972] * 19]])
    return tmp_path


def test_tables_are_those_of_the_files(output: Path) -> None:
    frames = read(output)
    (grid,) = grids(frames)
    numbers = tables.numbers(grid)
    found = json.loads(json.dumps(charts.tables(grid, numbers), allow_nan=False))
    shown = pd.DataFrame(found["cells"])
    for key in numbers:
        pd.testing.assert_series_equal(shown[key], numbers[key], check_exact=True, check_dtype=False)
    curves, runs = pd.DataFrame(found["curves"]), pd.DataFrame(found["runs"])
    assert len(curves) == len(frames.curves) == 16 * 20
    directory = frames.runs.index[(frames.runs.optimizer == "adam") & (frames.runs.batch_size == 256)]
    number = runs.index[(runs.optimizer == "adam") & (runs.batch_size == 256) & (runs.lr == 0.0005) & (runs.seed == 1)]
    one = frames.runs.loc[directory]
    (name,) = one.index[(one.lr == 0.0005) & (one.seed == 1)]
    of_run = curves[curves.run == number[0]]
    expected = frames.curves.loc[name]
    for figure in ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "updates"):
        assert of_run[figure].tolist() == pytest.approx(expected[figure].tolist(), rel=1e-3)
    assert of_run.seconds.tolist() == pytest.approx(expected.seconds.cumsum().tolist(), rel=1e-3)


def test_vega_draws_each_chart(output: Path) -> None:
    (grid,) = grids(read(output))
    found = charts.tables(grid, tables.numbers(grid))
    specs = charts.charts(grid)
    assert list(specs) == ["by_lr", "best", "curves", "times"]
    marks = {name: drawn(spec, found).count('aria-roledescription="') for name, (_, spec) in specs.items()}
    assert marks["best"] > 4 * 20  # a point for each epoch of each line
    assert marks["times"] > 8 + 8  # points of 4 cells with 2 runs at 2 targets, and medians
    by_lr, all_curves = (drawn(specs[name][1], found) for name in ("by_lr", "curves"))
    assert all(f">{optimizer}</text>" in by_lr for optimizer in ("sgd", "adam"))
    assert by_lr.count("\N{MULTIPLICATION SIGN}</text>") == 4  # the cells with a diverged run
    assert all_curves.count("\N{MULTIPLICATION SIGN}</text>") == 4  # the diverged runs
    assert all_curves.count(">0.0005</text>") == 4


def test_a_run_whose_loss_was_never_finite_is_drawn_at_the_top(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    (lost,) = cell(tmp_path, "sgd", 64, 0.5, [None], epochs=20)
    rows = [row | {"train_loss": math.nan, "test_loss": math.nan} for row in lost.read()[1]]
    lost.write_curve(rows)
    record = lost.record()
    lost.update(figures=record["figures"] | {"train_loss": None, "test_loss": None})
    (grid,) = grids(read(tmp_path))
    assert grid.cells["sgd", 64, 0.5].diverged == 1
    svg = drawn(charts.charts(grid)["curves"][1], charts.tables(grid, tables.numbers(grid)))
    assert svg.count("\N{MULTIPLICATION SIGN}</text>") == 1


def test_a_search_is_drawn_as_points_with_the_best_so_far(tmp_path: Path) -> None:
    accuracies = [0.9, 0.95, None, 0.94, 0.97, 0.96, 0.93, 0.92]
    for number, accuracy in enumerate(accuracies):
        began = [{"began": f"2026-01-01T00:0{number}:00+00:00", "device": "cpu", "versions": {}}]
        cell(tmp_path, "sgd", 64, 0.01 * 2**number, [accuracy], sessions=began)
        cell(tmp_path, "adam", 64 + number, 0.001, [0.5], sessions=[began[0] | {"began": "2025-01-01"}])
    (grid,) = grids(read(tmp_path))
    (chapter,) = chapters([Section(grid, grid)])
    assert chapter.is_search
    assert chapter.settings == ["optimizer", "batch_size", "lr"]
    found = trials(chapter)
    assert found["order"] == list(range(1, 17))
    assert found["accuracy"][8:] == accuracies
    assert found["best"] == [0.5] * 8 + [0.9, 0.95, 0.95, 0.95, 0.97, 0.97, 0.97, 0.97]
    svg = drawn(scatter(chapter)[1], {"trials": found})
    assert all(f">{title}</text>" in svg for title in ("order, and the best so far", "batch size", "learning rate"))
    assert svg.count("\N{MULTIPLICATION SIGN}</text>") == 4  # the diverged run in each panel
