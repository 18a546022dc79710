"""Learning rate range tests beside the grid that they were to spare."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from src.reporting.answers import close_range
from src.reporting.grid import Cell, Grid
from src.reporting.statistics import counted
from src.runs.range_tests import RangeTest

Verdict = Literal["contains the best", "contains one within half a point", "misses"]
PLURAL: dict[Verdict, str] = {
    "contains the best": "contain the best",
    "contains one within half a point": "contain one within half a point",
    "misses": "miss",
}


@dataclass(frozen=True)
class RangeCheck:
    """The interval that a range test would have one try, beside the best lr tried and those within half a point."""

    optimizer: str
    batch_size: int
    seeds: int  # of the range test
    low: float
    high: float
    best: float
    close_low: float
    close_high: float
    verdict: Verdict

    @property
    def row(self) -> dict[str, object]:
        """A row of range_checks.csv."""
        return asdict(self)


def range_checks(grid: Grid, tests: Iterable[RangeTest]) -> list[RangeCheck]:
    """Check the tests of the same network, data files, optimizer and batch size, where the grid has several lrs."""
    of_data = [test for test in tests if test.data_sha256 == grid.data_sha256]
    found = []
    for optimizer in grid.optimizers:
        for batch in grid.batch_sizes:
            cells = [cell for key, cell in grid.cells.items() if key[:2] == (optimizer, batch)]
            best = grid.best(optimizer, batch)
            test = next((test for test in of_data if best and _fits(test, best)), None)
            if best and test and len([cell for cell in cells if len(cell.runs)]) > 1:
                found.append(_check(grid, test, cells, best))
    return found


def summary(checks: Sequence[RangeCheck]) -> str:
    """Count the verdicts."""
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in get_args(Verdict)}
    said = ", ".join(counted(n, verdict, PLURAL[verdict]) for verdict, n in counts.items() if n)
    return f"Learning rate range tests beside this grid's best lr: of {counted(len(checks), 'interval')}, {said}."


def _fits(test: RangeTest, cell: Cell) -> bool:
    """Return True if the cell's runs have the test's settings, apart from lr, epochs and seed."""
    first = cell.runs.iloc[0]
    settings = replace(test.settings, lr=float(first.lr), epochs=int(first.epochs))
    return bool(settings.digest == first.cell)


def _check(grid: Grid, test: RangeTest, cells: Sequence[Cell], best: Cell) -> RangeCheck:
    scores = {cell.key[2]: grid.score(cell) for cell in cells if grid.can_be_chosen(cell)}
    lr = best.key[2]
    close = close_range(sorted(cell.key[2] for cell in cells if len(cell.runs)), scores, lr)
    verdict: Verdict = "misses"
    if test.low <= lr <= test.high:
        verdict = "contains the best"
    elif any(test.low <= each <= test.high for each in scores if close[0] <= each <= close[1]):
        verdict = "contains one within half a point"
    optimizer, batch, _ = best.key
    return RangeCheck(optimizer, batch, len(test.seeds), test.low, test.high, lr, *close, verdict)
