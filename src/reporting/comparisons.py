"""Pairwise comparisons of the best cells of a grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.files import Damaged
from src.reporting.grid import Cell, Grid
from src.reporting.statistics import (
    ALPHA,
    MCNEMAR,
    Comparison,
    compare,
    compare_predictions,
    counted,
    holm,
    seeds_needed,
)
from src.runs.directory import Run


@dataclass(frozen=True)
class Pair:
    """Two cells, their comparison, and its p-value adjusted for the number of tests."""

    one: Cell
    other: Cell
    comparison: Comparison
    adjusted: float
    tests: int
    damaged: dict[Path, str]  # predictions files that could not be read, and why

    @property
    def winner(self) -> Cell | None:
        """The significantly better cell, or None."""
        if not self.adjusted < ALPHA:  # NaN is not
            return None
        return self.one if self.comparison.difference.value > 0 else self.other

    @property
    def untestable(self) -> bool:
        """True if no result of the test could be significant."""
        return not self.winner and (math.isnan(self.comparison.p) or self.comparison.least_p * self.tests > ALPHA)

    @property
    def verdict(self) -> str:
        """The result in words; if there are too few seeds for significance, it says how many are needed."""
        if self.damaged:
            return "no test: the predictions cannot be read"
        if math.isnan(self.comparison.p):
            return "no test: no predictions stored" if self.comparison.difference.n else "no test: no shared seeds"
        if self.winner:
            return f"{self.winner.name} is better"
        if self.untestable:
            n, needed = self.comparison.difference.n, seeds_needed(self.tests)
            return f"cannot be told: {n} seeds are too few for {counted(self.tests, 'test')}, {needed} are needed"
        return "no difference shown"

    @property
    def row(self) -> dict[str, object]:
        """The pair's row in pairs.csv."""
        c = self.comparison
        row: dict[str, object] = {"one": self.one.name, "other": self.other.name, "seeds": c.difference.n}
        row |= {"difference": c.difference.value, "low": c.difference.low, "high": c.difference.high}
        return row | {"test": c.test, "p": c.p, "p_holm": self.adjusted, "effect": c.effect, "verdict": self.verdict}


def paired(one: Cell, other: Cell) -> tuple[Comparison, dict[Path, str]]:
    """Compare two cells' test accuracies over the seeds that ended in both; for one seed, their predictions.

    Also return the damaged predictions files, with the reasons.
    """
    ones, others = one.values("test_accuracy"), other.values("test_accuracy")
    shared = sorted(set(ones) & set(others))
    stored, damaged = [], {}
    for cell in (one, other) if len(shared) == 1 else ():
        directory = cell.runs.index[cell.runs.seed == shared[0]][0]
        run = Run(Path(directory))
        try:
            if (predictions := run.predictions(one.images)) is not None:
                stored.append(predictions if directory in cell.finished.index else _guessed(predictions))
        except Damaged as error:
            damaged[run.predictions_file] = str(error)
    return compare_predictions(*stored) if len(stored) == 2 else over_shared(ones, others), damaged


def _guessed(predictions: NDArray[Any]) -> NDArray[Any]:
    """Return predictions (2, N) of the largest class for every image, beside the same labels.

    A diverged run counts as guessing, whatever it predicted when it was stopped: its predictions must have the accuracy
    that is reported for it.
    """
    labels = predictions[1]
    return np.stack([np.full_like(labels, np.bincount(labels).argmax()), labels])


def over_shared(ones: dict[int, float], others: dict[int, float]) -> Comparison:
    """Compare values by seed over the seeds that both have."""
    shared = sorted(set(ones) & set(others))
    return compare([ones[seed] for seed in shared], [others[seed] for seed in shared])


def compare_all(cells: Sequence[Cell]) -> list[Pair]:
    """Compare all pairs of cells, with p-values adjusted by Holm's method."""
    compared = [(one, other, *paired(one, other)) for one, other in combinations(cells, 2)]
    ps = [comparison.p for _, _, comparison, _ in compared]
    tests = sum(not math.isnan(p) for p in ps)
    return [
        Pair(one, other, comparison, p, tests, damaged)
        for (one, other, comparison, damaged), p in zip(compared, holm(ps) if ps else [], strict=True)
    ]


def by_seeds(grid: Grid, pairs: list[Pair]) -> str:
    """Return a caption that names the choice of cells and the tests."""
    kinds = sorted({pair.comparison.test for pair in pairs} - {"none"})
    images = " McNemar's test says nothing about other seeds." if MCNEMAR in kinds else ""
    choice = f"its best learning rate, chosen on the {grid.chosen_on} set."
    compared = "" if grid.chosen_on == "test" else " The test accuracies are compared."
    return (
        f"Each optimizer and batch size takes part with {choice}{compared} "
        f"Two-sided {' and '.join(kinds) or 'tests: none'}, p-values adjusted by Holm's method.{images}"
    )
