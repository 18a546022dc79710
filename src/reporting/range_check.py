"""Learning rate range tests compared with a grid."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from src.reporting.answers import close_range
from src.reporting.grid import Cell, Grid
from src.reporting.statistics import counted
from src.runs.range_tests import RangeTest

Verdict = Literal[
    "contains the best", "contains one within half a point", "lies below the best", "lies above the best", "saw no fall"
]
PLURAL: dict[Verdict, str] = {
    "contains the best": "contain the best",
    "contains one within half a point": "contain one within half a point",
    "lies below the best": "lie below the best",
    "lies above the best": "lie above the best",
    "saw no fall": "saw no fall",
}


@dataclass(frozen=True)
class RangeCheck:
    """The interval that a range test suggests, the best lr of the grid, and those within half a point of it."""

    optimizer: str
    batch_size: int
    seeds: int  # of the range test
    low: float
    high: float
    best: float
    close_low: float
    close_high: float
    verdict: Verdict
    between: bool  # True if no lr that was tried lies in the interval

    @property
    def row(self) -> dict[str, object]:
        """A row of range_checks.csv."""
        return asdict(self)


def range_checks(grid: Grid, tests: Iterable[RangeTest]) -> list[RangeCheck]:
    """Check the tests of the same settings and data files, where the grid has several lrs.

    The grid's lr is constant: range tests know no schedule.
    """
    of_data = [test for test in tests if test.data_sha256 == grid.data_sha256]
    found = []
    for optimizer in grid.optimizers:
        for batch in grid.batch_sizes:
            best = grid.best(optimizer, batch)
            test = next((test for test in of_data if best and _fits(test, best)), None)
            if best and test and len(tried := grid.tried(optimizer, batch)) > 1:
                found.append(_check(grid, test, tried, best))
    return found


def summary(checks: Sequence[RangeCheck]) -> str:
    """Count the verdicts."""
    counts = Counter(check.verdict for check in checks)
    said = ", ".join(counted(counts[verdict], verdict, words) for verdict, words in PLURAL.items() if counts[verdict])
    between = sum(check.between for check in checks)
    none = f" (in {between} of them no lr was tried)" if between else ""
    intervals = counted(len(checks), "interval")
    return f"Learning rate range tests compared with this grid's best lr: of {intervals}, {said}{none}."


def _fits(test: RangeTest, cell: Cell) -> bool:
    """Return True if the cell's runs have the test's settings, apart from lr, epochs and seed."""
    first = cell.runs.iloc[0]
    settings = replace(test.settings, lr=float(first.lr), epochs=int(first.epochs))
    return bool(settings.digest == first.cell)


def _check(grid: Grid, test: RangeTest, tried: Sequence[Cell], best: Cell) -> RangeCheck:
    scores = {cell.key[2]: grid.score(cell) for cell in tried if grid.can_be_chosen(cell)}
    optimizer, batch, lr = best.key
    lrs = sorted(cell.key[2] for cell in tried)
    close = close_range(lrs, scores, lr)
    inside = [each for each in scores if test.low <= each <= test.high]
    verdict: Verdict = "lies below the best" if test.high < lr else "lies above the best"
    if test.valley is None:
        verdict = "saw no fall"
    elif lr in inside:
        verdict = "contains the best"
    elif any(close[0] <= each <= close[1] for each in inside):
        verdict = "contains one within half a point"
    between = not any(test.low <= each <= test.high for each in lrs)
    return RangeCheck(optimizer, batch, len(test.seeds), test.low, test.high, lr, *close, verdict, between)
