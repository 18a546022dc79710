"""The share of the variance of test accuracy that each setting explains (analysis of variance)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from src.reporting.grid import Grid

FACTORS = {"lr": "learning rate", "optimizer": "optimizer", "batch_size": "batch size"}
RESIDUAL = "seed"
EQUAL = 1e-9  # range of logits below which there is no variance but rounding
SMALL = 0.08  # share below which a term is not drawn by itself


@dataclass(frozen=True)
class Variance:
    """Shares of the total sum of squares by term, largest first, over a balanced part of a grid."""

    shares: dict[str, float]
    runs: int
    left_out: int  # ended runs outside the balanced part

    @property
    def small(self) -> dict[str, float]:
        """The terms that are too small to be drawn."""
        return {name: share for name, share in self.shares.items() if share < SMALL}

    @property
    def largest(self) -> list[tuple[str, float]]:
        """The terms to be drawn, the small ones as one."""
        large = [(name, share) for name, share in self.shares.items() if share >= SMALL]
        return [*large, ("other", sum(self.small.values()))] if self.small else large


def empirical_logit(accuracy: "pd.Series[float]", images: "pd.Series[int]") -> "pd.Series[float]":
    """Return log((right + 1/2) / (wrong + 1/2)), finite also where all images are right (Anscombe 1956)."""
    right = accuracy * images
    return np.log((right + 0.5) / (images - right + 0.5))


def variance(grid: Grid) -> Variance | None:
    """Decompose the variance of the logit of test accuracy; None if too few settings or seeds vary, or all
    accuracies are equal.

    A diverged run counts as guessing. What settings leave unexplained differs between seeds only.
    """
    runs = pd.concat([cell.counted.assign(optimizer=cell.key[0]) for cell in grid.cells.values()], ignore_index=True)
    runs = balanced(runs)
    factors = [name for name in FACTORS if runs[name].nunique() > 1]
    depth = len(factors) if runs.seed.nunique() > 1 else len(factors) - 1  # with one seed, the last interaction is left
    if depth < 1:
        return None
    table = runs[factors].assign(y=empirical_logit(runs.test_accuracy.astype(float), runs.test_images.astype(float)))
    if np.ptp(table.y) < EQUAL:
        return None
    terms = " + ".join(f"C({name})" for name in factors)
    fitted = anova_lm(ols(f"y ~ ({terms}) ** {depth}", data=table).fit(), test=None)
    squares = fitted.sum_sq / fitted.sum_sq.sum()
    shares = {_name(str(term), depth, len(factors)): float(share) for term, share in squares.items()}
    ended = sum(len(cell.runs) for cell in grid.cells.values())
    return Variance(dict(sorted(shares.items(), key=lambda each: -each[1])), len(runs), ended - len(runs))


def balanced(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of a part of the grid in which each combination of factors and seed has a run.

    The level that most combinations lack is dropped until none is lacking.
    """
    keys = [*FACTORS, "seed"]
    levels = [sorted(runs[key].unique()) for key in keys]
    present: NDArray[np.bool_] = np.zeros([len(each) for each in levels], bool)
    present[tuple(np.searchsorted(each, runs[key]) for key, each in zip(keys, levels, strict=True))] = True
    while not present.all():
        _, axis, level = max(
            (1 - present.take(level, axis).mean(), axis, level)
            for axis, size in enumerate(present.shape)
            if size > 1
            for level in range(size)
        )
        present = np.delete(present, level, axis)
        levels[axis] = [each for place, each in enumerate(levels[axis]) if place != level]
    kept = np.logical_and.reduce([runs[key].isin(each) for key, each in zip(keys, levels, strict=True)])
    return runs[kept]


def _name(term: str, depth: int, factors: int) -> str:
    if term != "Residual":
        return " \N{MULTIPLICATION SIGN} ".join(FACTORS[each[2:-1]] for each in term.split(":"))
    return RESIDUAL if depth == factors else "the rest, seed included"
