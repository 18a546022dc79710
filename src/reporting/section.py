"""The content of a report on one grid, and its summary in sentences."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import pandas as pd

from src.reporting.answers import Answer, answers
from src.reporting.assignment.claims import Claim, claims
from src.reporting.assignment.reference import ReferenceCell, Verdict, is_the_assignments, reference_cells
from src.reporting.comparisons import Pair, compare_all
from src.reporting.grid import Cell, Grid, Key, with_divergence
from src.reporting.heat_map import HeatMap
from src.reporting.limits import Limits
from src.reporting.range_check import RangeCheck, range_checks, summary
from src.reporting.statistics import ALPHA, counted
from src.reporting.tables import accuracy, numbers
from src.reporting.variance import Variance, variance
from src.runs.range_tests import RangeTest


@dataclass(frozen=True, eq=False)
class Section:
    """What a report says about one grid; the claims are decided on `whole`, the same grid with more runs."""

    grid: Grid
    whole: Grid
    number: int = 0  # of the section among several; 0 if there is one
    tests: Sequence[RangeTest] = ()  # learning rate range tests of any network and data

    @cached_property
    def answers(self) -> list[Answer]:
        return answers(self.grid)

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """The rows of cells.csv."""
        return numbers(self.grid)

    @cached_property
    def variance(self) -> Variance | None:
        return variance(self.grid)

    @cached_property
    def heat_map(self) -> HeatMap:
        return HeatMap(self.grid)

    @cached_property
    def limits(self) -> Limits:
        return Limits(self.grid)

    @cached_property
    def range_checks(self) -> list[RangeCheck]:
        return range_checks(self.grid, self.tests)

    @cached_property
    def pairs(self) -> list[Pair]:
        return compare_all(self.grid.best_cells)

    @cached_property
    def reference(self) -> dict[Key, ReferenceCell]:
        return reference_cells(self.grid) if is_the_assignments(self.grid) else {}

    @cached_property
    def claims(self) -> list[Claim]:
        return claims(self.whole) if is_the_assignments(self.grid) else []

    @property
    def prefix(self) -> str:
        """The beginning of the names of its files."""
        return f"{self.number}-" if self.number else ""

    @property
    def id(self) -> str:
        """The HTML id."""
        return f"section-{self.number}"


def sentences(section: Section) -> list[str]:
    """Summarise a section: what was run, the answers, and what the assignment's figures and claims come to."""
    said = [f"{section.grid.title}: {runs_of(section.grid)}", *(answer.sentence for answer in section.answers)]
    if best := section.grid.best_cell:
        said.append(_best(section, best))
    if section.variance:
        shares = [f"{name} {100 * share:.0f} %" for name, share in section.variance.shares.items() if share >= 0.005]
        said.append(f"Share of the variance of test accuracy (logit): {', '.join(shares)}.")
    said += section.limits.sentences
    if section.range_checks:
        said.append(summary(section.range_checks))
    if section.claims:
        said.append(_assignment(section))
    return said


def runs_of(grid: Grid) -> str:
    """Count a grid's runs, cells and seeds."""
    cells = list(grid.cells.values())
    runs, diverged = sum(len(cell.runs) for cell in cells), sum(cell.diverged for cell in cells)
    missing = sum(len(cell.missing) for cell in cells)
    least, most = min(len(cell.runs) for cell in cells), max(len(cell.runs) for cell in cells)
    seeds = f"{f'{least} to ' if least < most else ''}{counted(most, 'seed')}"
    lost = (
        f", of which {diverged} diverged and {'counts' if diverged == 1 else 'count'} as guessing" if diverged else ""
    )
    gaps = f"; {counted(missing, 'is', 'are')} missing" if missing else ""
    return f"{counted(runs, 'run')} in {counted(len(cells), 'cell')} of {seeds}{lost}{gaps}."


def _best(section: Section, best: Cell) -> str:
    grid, number = section.grid, len(section.grid.best_cells)
    told = "; there are too few seeds to compare it with others" if section.pairs else ""
    if any(pair.comparison.least_p * pair.tests < ALPHA for pair in section.pairs):
        worse = sum(pair.winner is best for pair in section.pairs)
        others = {0: "not significantly better than any other", number - 1: "significantly better than all others"}
        some = f"significantly better than {worse} of the {number - 1} others"
        told = f"; {others.get(worse, some)}, by optimizer and batch size"
    tested = "" if grid.chosen_on == "test" else " on the test set"
    shown = with_divergence(f"{accuracy(best, 'test_accuracy')} %{tested}", best)
    return f"Best cell, chosen on the {grid.chosen_on} set: {best.name} with {shown}{told}."


def _assignment(section: Section) -> str:
    count = Counter(claim.verdict for claim in section.claims)
    verdicts = Counter(each.verdict for each in section.reference.values())
    shown = [f"{number} {verdict}" for verdict in get_args(Verdict) if (number := verdicts[verdict])]
    figures = f"The assignment's cells beside ours: {', '.join(shown)}. " if shown else ""
    decided = f"{counted(count['holds'], 'holds', 'hold')}, {counted(count['does not hold'], 'does', 'do')} not"
    return f"{figures}Its claims: {decided}, {count['cannot be told']} cannot be told."
