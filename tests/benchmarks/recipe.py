"""`python -m tests.benchmarks.recipe OUTPUTS`: the scores of candidate recipes that docs/recipe.md defines."""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from src.reporting.assignment.reference import PUBLISHED
from src.reporting.grid import USUAL, Cell, Grid, Key, grids
from src.runs.dataframe import read

ENOUGH = 3  # seeds needed to estimate a spread
IMAGES = (60_000, 10_000)  # train, test
FIGURES = ("train_accuracy", "test_accuracy")
# Neither at chance nor above 98.6 %.
SCREEN: list[Key] = [
    *((optimizer, batch, 0.0005) for optimizer in ("sgd", "adagrad") for batch in (64, 256)),
    *(("adam", batch, 0.0000005) for batch in (64, 256)),
]
SCREEN_256 = [key for key in SCREEN if key[1] == 256]

Values = NDArray[np.float64]  # (n, 2): train and test accuracy in percent of n runs


@dataclass(frozen=True)
class Candidate:
    """A recipe, and its accuracies in the published cells for which it has runs."""

    name: str
    epoch: str  # last, or best: the highest of each run's epochs, train and test by themselves
    cells: dict[Key, Values]

    @property
    def seeds(self) -> int:
        """The smallest number of seeds in a cell."""
        return min(len(values) for values in self.cells.values())


def candidates(grids: Iterable[Grid]) -> list[Candidate]:
    """Return the candidates in the grids: by normalisation, network, other settings of an optimizer, and epoch.

    A candidate with other settings of one optimizer has the cells of the other optimizers from the same grid.
    """
    found = []
    for grid in grids:
        usual: dict[Key, Cell] = {}
        variants: dict[str, dict[Key, Cell]] = {}
        for (label, batch, lr), cell in grid.cells.items():
            optimizer, _, variant = label.partition(" ")
            key = optimizer, batch, lr
            if key in PUBLISHED and len(cell.runs) and cell.runs.schedule.iloc[0] == "constant":
                (variants.setdefault(variant, {}) if variant else usual)[key] = cell
        run = next((cell.runs.iloc[0] for cells in (usual, *variants.values()) for cell in cells.values()), None)
        if run is None or not _is_comparable(run):
            continue
        for variant, cells in {"": usual, **{name: usual | own for name, own in variants.items()}}.items():
            for epoch in ("last", "best") if cells else ():
                values = {key: _values(cell, epoch) for key, cell in cells.items()}
                found.append(Candidate(_name(run, variant), epoch, values))
    return found


def _is_comparable(run: "pd.Series") -> bool:
    return (run.model, run.data, run.epochs, run.validation) == ("lenet", "mnist", 20, 0)


def _name(run: "pd.Series", variant: str) -> str:
    always = ("normalize", "model.init")
    told = [key for key in USUAL if key in run and (key in always or run[key] != USUAL[key])]
    settings = [f"{key.rpartition('.')[2]} {run[key]}" for key in told]
    return ", ".join([*settings, *([variant] if variant else [])])


def _values(cell: Cell, epoch: str) -> Values:
    last = cell.counted[list(FIGURES)].to_numpy(float)
    if epoch == "last":
        return 100 * last
    # Runs that diverged have shorter curves, filled up with NaN; they count as guessing in either case.
    curves = (cell.by_epoch(figure)[cell.runs.index].to_numpy(float) for figure in FIGURES)
    best = np.stack([np.nanmax(curve, axis=0) for curve in curves], axis=1)
    return 100 * np.where(cell.runs.status.eq("diverged").to_numpy()[:, None], last, best)


def log_density(figure: float, mean: float, variance: float, freedom: int, n: int, images: int) -> float:
    """Return the log density (nats) of a figure in percent as one more run beside `n` of this mean and variance."""
    by_images = mean * (100 - mean) / images
    return float(stats.t.logpdf(figure, freedom, mean, math.sqrt((1 + 1 / n) * (variance + by_images))))


def score(candidate: Candidate, keys: Iterable[Key], spreads: dict[Key, tuple[NDArray[np.float64], int]]) -> float:
    """Return the log density of the assignment's figures in these cells; NaN if a spread is unknown."""
    total = 0.0
    for key in keys:
        values = candidate.cells[key]
        n = len(values)
        variances, freedom = spreads.get(key, (np.full(2, math.nan), 1))
        if n >= ENOUGH:
            variances, freedom = values.var(axis=0, ddof=1), n - 1
        for split, images in enumerate(IMAGES):
            mean, variance = float(values[:, split].mean()), float(variances[split])
            total += log_density(PUBLISHED[key][split], mean, variance, freedom, n, images)
    return total


def pooled(found: Sequence[Candidate]) -> dict[Key, tuple[NDArray[np.float64], int]]:
    """Return, by cell, the mean variance of the candidates with enough seeds and their total degrees of freedom."""
    spreads = {}
    for key in PUBLISHED:
        enough = [values for each in found if len(values := each.cells.get(key, np.empty((0, 2)))) >= ENOUGH]
        if enough:
            variance = np.mean([values.var(axis=0, ddof=1) for values in enough], axis=0)
            spreads[key] = variance, sum(len(values) - 1 for values in enough)
    return spreads


def scores(found: Sequence[Candidate]) -> pd.DataFrame:
    """Return a row per candidate, likeliest first: its scores over three sets of cells, NaN unless it has them all."""
    rows = []
    for epoch in ("last", "best"):
        alike = [each for each in found if each.epoch == epoch]
        spreads = pooled(alike)
        for each in alike:
            row: dict[str, object] = {"candidate": each.name, "epoch": epoch, "cells": len(each.cells)}
            row["seeds"] = each.seeds
            for name, keys in (("score_256", SCREEN_256), ("score_screen", SCREEN), ("score_all", list(PUBLISHED))):
                scored = set(keys) <= each.cells.keys() and (name != "score_all" or each.seeds >= ENOUGH)
                row[name] = score(each, keys, spreads) if scored else math.nan
            rows.append(row)
    order = ["score_all", "score_screen", "score_256"]
    return pd.DataFrame(rows).sort_values(order, ascending=False, ignore_index=True)


def main() -> None:
    """Print a row per candidate in the output directories."""
    frames = [grid for folder in sys.argv[1:] or ["outputs"] for grid in grids(read(Path(folder)))]
    print(scores(candidates(frames)).to_string(float_format="%.1f"))


if __name__ == "__main__":
    main()
