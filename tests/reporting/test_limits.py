"""What the report says of runs that were probed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from src.reporting.grid import Grid
from src.reporting.limits import Limits
from src.reporting.limits_figure import limits_figures
from src.reporting.section import Section, sentences
from src.runs.directory import Run
from tests.reporting.synthetic import cell, only


def probed(run: Run, critical_lr: float, noise: float, squared: float, **more: float) -> None:
    """Add a probe's columns to a run's epochs, the same in each."""
    record, rows = run.read()
    settings = record["settings"]
    columns = {"lr": settings["lr"], "batch_size": float(settings["batch_size"])}
    columns |= {"critical_lr": critical_lr, "gradient_noise": noise, "gradient_squared": squared}
    columns |= {"noise_scale": noise / squared if squared > 0 else math.inf}
    run.write_curve([row | columns | more for row in rows])


def test_shares_of_the_limits_over_seeds_and_epochs(tmp_path: Path) -> None:
    one, two = cell(tmp_path, "sgd", 64, 0.05, [0.9, 0.92])
    probed(one, 0.1, noise=10.0, squared=0.1)  # a scale of 100
    probed(two, 0.05, noise=30.0, squared=0.3)
    limits = Limits(only(tmp_path))
    (found,) = limits.cells.values()
    assert found.lr.value == pytest.approx(1.0)  # the higher of two
    assert found.noise_scale == pytest.approx(40 / 0.4)  # not the mean of two ratios
    assert found.batch.value == pytest.approx(0.64)
    assert math.isnan(found.sharpness.value)
    assert [name for name, _ in limits.maps] == ["lr", "batch"]


@pytest.mark.parametrize(
    ("critical_lr", "squared", "limit"),
    [
        (0.10, 0.01, "noise and the critical lr"),
        (0.10, 1.00, "the critical lr"),
        (0.50, 0.01, "noise"),
        (0.50, 1.00, "neither noise nor the critical lr"),
        (math.inf, -0.1, "noise"),
    ],
)
def test_the_limit_that_an_optimizer_was_at(tmp_path: Path, critical_lr: float, squared: float, limit: str) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    probed(run, critical_lr, noise=10.0, squared=squared)
    (said,) = Limits(only(tmp_path)).sentences
    assert said == f"sgd, at the best lr of each batch size: limited by {limit} at batch 64."
    assert said in sentences(Section(only(tmp_path), only(tmp_path)))


def test_limits_are_told_at_the_best_lr_of_each_batch_size(tmp_path: Path) -> None:
    for batch, critical in ((16, 9.0), (64, 9.0), (256, 0.1)):
        for lr, accuracy in ((0.05, 0.9), (0.5, 0.8)):
            (run,) = cell(tmp_path, "sgd", batch, lr, [accuracy])
            probed(run, critical if lr == 0.05 else 1e-9, noise=100.0, squared=1.0)
    (said,) = Limits(only(tmp_path)).sentences
    assert said == (
        "sgd, at the best lr of each batch size: limited by noise at batch 16 and 64, by the critical lr at batch 256."
    )


def test_unknown_values_and_runs_without_probe(tmp_path: Path) -> None:
    assert not Limits(only_cell := _grid(tmp_path / "plain", None))
    assert list(limits_figures(Limits(only_cell))) == []
    (found,) = Limits(_grid(tmp_path / "lost", math.nan)).cells.values() or [None]
    assert found is None


def _grid(output: Path, critical_lr: float | None) -> Grid:
    (run,) = cell(output, "adam", 64, 0.05, [0.9])
    if critical_lr is not None:
        probed(run, critical_lr, math.nan, math.nan)
    return only(output)


def test_sharpness_gets_a_map_of_its_own(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    probed(run, 0.1, 1.0, 1.0, sharpness=38.0, stability_limit=76.0)
    limits = Limits(only(tmp_path))
    (found,) = limits.cells.values()
    assert found.sharpness.value == 0.5
    assert [name for name, _ in limits.maps] == ["lr", "batch", "sharpness"]


def test_colours_tell_the_side_of_the_limit(tmp_path: Path) -> None:
    styles = []
    for number, critical in enumerate((500.0, 5.0, 0.05, 0.0005)):
        (run,) = cell(tmp_path / str(number), "sgd", 64, 0.05, [0.9])
        probed(run, critical, 1.0, 1.0)
        (found,) = Limits(only(tmp_path / str(number))).cells.values()
        styles.append(found.lr.style)
    channels = [[int(style[19 + place : 21 + place], 16) for place in (0, 2, 4)] for style in styles]
    assert channels[0][2] > channels[0][0]  # blue: far below
    assert channels[1][2] >= channels[1][0]
    assert min(channels[2]) > 240  # white: at it
    assert channels[3][0] > channels[3][2]  # red: beyond


def test_figure_and_rows(tmp_path: Path) -> None:
    for batch in (16, 64):
        for lr in (0.5, 0.05):
            runs = cell(tmp_path, "sgd", batch, lr, [0.9 + lr / 100])
            probed(runs[0], lr * 2, noise=2.0 * batch, squared=1.0)
    limits = Limits(only(tmp_path))
    rows = {(row["batch_size"], row["lr"]): row for row in limits.rows}
    assert {key: row["noise_scale"] for key, row in rows.items()} == {
        (16, 0.5): 32, (16, 0.05): 32, (64, 0.5): 128, (64, 0.05): 128,
    }  # fmt: skip
    ((name, _, figure),) = limits_figures(limits)
    left, right = figure.axes
    assert name == "limits"
    assert points(left, "sgd") == [[16, 32], [64, 128]]
    assert points(left, "McCandlish et al.: about 900")
    assert points(right, "sgd, critical") == [[16, pytest.approx(1)], [64, pytest.approx(1)]]
    assert points(right, "sgd, best") == [[16, 0.5], [64, 0.5]]


def points(axis: Axes, label: str) -> Any:
    """Return the points of the line with this label."""
    (line,) = (line for line in axis.get_lines() if line.get_label() == label)
    return np.asarray(line.get_xydata()).tolist()


def test_a_curve_with_some_of_the_columns_stops_no_report(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    run.write_curve([row | {"critical_lr": 0.1} for row in run.read()[1]])
    limits = Limits(only(tmp_path))
    (found,) = limits.cells.values()
    assert found.critical_lr == 0.1
    assert math.isnan(found.batch.value)
    assert list(limits.sentences) == []
    assert [row["critical_lr"] for row in limits.rows] == [0.1]


def test_a_schedules_critical_lr_is_the_median_of_the_epochs(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9], epochs=3)
    more = [{"lr": lr, "batch_size": 64.0, "critical_lr": c} for lr, c in ((1.0, 1.0), (0.5, 10.0), (0.01, 0.1))]
    run.write_curve([row | each for row, each in zip(run.read()[1], more, strict=True)])
    (found,) = Limits(only(tmp_path)).cells.values()
    assert found.critical_lr == 1.0
    assert found.lr.value == pytest.approx(0.1)
