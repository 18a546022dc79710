"""The best cells of a grid, compared pair by pair."""

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from src.reporting.grid import Cell, Grid
from src.reporting.statistics import ALPHA, MCNEMAR, Comparison, compare, compare_predictions, holm, seeds_needed
from src.runs.run import Run

CHOICE = (
    "Each optimizer and batch size takes part with the learning rate that did best on the test set: a choice by it."
)


@dataclass(frozen=True)
class Pair:
    """Two cells, their comparison, and its p-value among all that were made."""

    one: Cell
    other: Cell
    comparison: Comparison
    adjusted: float
    tests: int

    @property
    def winner(self) -> Cell | None:
        """Which cell is better, where one is beyond doubt."""
        if not self.adjusted < ALPHA:  # NaN is not
            return None
        return self.one if self.comparison.difference.value > 0 else self.other

    @property
    def verdict(self) -> str:
        """In words; that no significance can be had is said, and how many seeds it would take."""
        if math.isnan(self.comparison.p):
            return "no test: no predictions stored" if self.comparison.difference.n else "no test: no seeds shared"
        if self.winner:
            return f"{name(self.winner)} is better"
        if self.comparison.least_p * self.tests > ALPHA:
            n, needed = self.comparison.difference.n, seeds_needed(self.tests)
            return f"cannot be told: {n} seeds give no significance among {self.tests} tests, {needed} can"
        return "no difference shown"

    @property
    def row(self) -> dict[str, object]:
        """For a table of all pairs."""
        c = self.comparison
        row: dict[str, object] = {"one": name(self.one), "other": name(self.other), "seeds": c.difference.n}
        row |= {"difference": c.difference.value, "low": c.difference.low, "high": c.difference.high}
        return row | {"test": c.test, "p": c.p, "p_holm": self.adjusted, "effect": c.effect, "verdict": self.verdict}


def name(cell: Cell) -> str:
    """A cell's key for people."""
    optimizer, batch, lr = cell.key
    return f"{optimizer}, batch {batch}, lr {lr:g}"


def paired(one: Cell, other: Cell) -> Comparison:
    """Test accuracies over the seeds that finished in both; of one seed, by the test images that they tell apart."""
    ones, others = one.values("test_accuracy"), other.values("test_accuracy")
    shared = sorted(set(ones) & set(others))
    if len(shared) == 1:
        runs = [Run(Path(cell.finished.index[cell.finished.seed == shared[0]][0])) for cell in (one, other)]
        stored = [predictions for run in runs if (predictions := run.predictions()) is not None]
        if len(stored) == 2:
            return compare_predictions(*stored)
    return over_shared(ones, others)


def over_shared(ones: dict[int, float], others: dict[int, float]) -> Comparison:
    """Values by seed, compared over the seeds that both have."""
    shared = sorted(set(ones) & set(others))
    return compare([ones[seed] for seed in shared], [others[seed] for seed in shared])


def pairs(grid: Grid) -> list[Pair]:
    """Every two of the best cells, p-values adjusted by Holm's method."""
    compared = [(one, other, paired(one, other)) for one, other in combinations(grid.best_cells, 2)]
    adjusted = holm([comparison.p for *_, comparison in compared]) if compared else []
    tests = sum(not math.isnan(comparison.p) for *_, comparison in compared)
    return [Pair(*each, p, tests) for each, p in zip(compared, adjusted, strict=True)]


def by_seeds(pairs: list[Pair]) -> str:
    """What was tested, for the caption."""
    kinds = sorted({pair.comparison.test for pair in pairs} - {"none"})
    images = " It says nothing of other seeds." if MCNEMAR in kinds else ""
    return f"{CHOICE} Two-sided {' and '.join(kinds) or 'tests: none'}, p-values adjusted by Holm's method.{images}"
