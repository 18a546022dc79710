"""The best cells of a grid, compared pair by pair."""

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

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
from src.runs.atomic import Damaged
from src.runs.directory import Run


@dataclass(frozen=True)
class Pair:
    """Two cells, their comparison, and its p-value among all that were made."""

    one: Cell
    other: Cell
    comparison: Comparison
    adjusted: float
    tests: int
    damaged: dict[Path, str]  # predictions that it could have been made by, and why they cannot be read

    @property
    def winner(self) -> Cell | None:
        """Which cell is better, where one is beyond doubt."""
        if not self.adjusted < ALPHA:  # NaN is not
            return None
        return self.one if self.comparison.difference.value > 0 else self.other

    @property
    def verdict(self) -> str:
        """In words; that no significance can be had is said, and how many seeds it would take."""
        if self.damaged:
            return "no test: the predictions cannot be read"
        if math.isnan(self.comparison.p):
            return "no test: no predictions stored" if self.comparison.difference.n else "no test: no seeds shared"
        if self.winner:
            return f"{self.winner.name} is better"
        if self.comparison.least_p * self.tests > ALPHA:
            n, needed = self.comparison.difference.n, seeds_needed(self.tests)
            return f"cannot be told: {n} seeds give no significance among {counted(self.tests, 'test')}, {needed} can"
        return "no difference shown"

    @property
    def row(self) -> dict[str, object]:
        """For a table of all pairs."""
        c = self.comparison
        row: dict[str, object] = {"one": self.one.name, "other": self.other.name, "seeds": c.difference.n}
        row |= {"difference": c.difference.value, "low": c.difference.low, "high": c.difference.high}
        return row | {"test": c.test, "p": c.p, "p_holm": self.adjusted, "effect": c.effect, "verdict": self.verdict}


def paired(one: Cell, other: Cell) -> tuple[Comparison, dict[Path, str]]:
    """Test accuracies over the seeds that finished in both; of one seed, by the test images that they tell apart.

    And the files of predictions that this would have taken and that are damaged, with the reasons.
    """
    ones, others = one.values("test_accuracy"), other.values("test_accuracy")
    shared = sorted(set(ones) & set(others))
    stored, damaged = [], {}
    for cell in (one, other) if len(shared) == 1 else ():
        run = Run(Path(cell.finished.index[cell.finished.seed == shared[0]][0]))
        try:
            if (predictions := run.predictions(one.images)) is not None:
                stored.append(predictions)
        except Damaged as error:
            damaged[run.predictions_file] = str(error)
    return compare_predictions(*stored) if len(stored) == 2 else over_shared(ones, others), damaged


def over_shared(ones: dict[int, float], others: dict[int, float]) -> Comparison:
    """Values by seed, compared over the seeds that both have."""
    shared = sorted(set(ones) & set(others))
    return compare([ones[seed] for seed in shared], [others[seed] for seed in shared])


def pairs(grid: Grid) -> list[Pair]:
    """Every two of the best cells, p-values adjusted by Holm's method."""
    compared = [(one, other, *paired(one, other)) for one, other in combinations(grid.best_cells, 2)]
    ps = [comparison.p for _, _, comparison, _ in compared]
    tests = sum(not math.isnan(p) for p in ps)
    return [
        Pair(one, other, comparison, p, tests, damaged)
        for (one, other, comparison, damaged), p in zip(compared, holm(ps) if ps else [], strict=True)
    ]


def by_seeds(grid: Grid, pairs: list[Pair]) -> str:
    """What was tested, for the caption."""
    kinds = sorted({pair.comparison.test for pair in pairs} - {"none"})
    images = " It says nothing of other seeds." if MCNEMAR in kinds else ""
    choice = f"the learning rate that did best on the {grid.chosen_on} set: a choice by it."
    compared = "" if grid.chosen_on == "test" else " Compared are their test accuracies."
    return (
        f"Each optimizer and batch size takes part with {choice}{compared} "
        f"Two-sided {' and '.join(kinds) or 'tests: none'}, p-values adjusted by Holm's method.{images}"
    )
