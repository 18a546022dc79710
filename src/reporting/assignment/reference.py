"""The assignment's published figures, and their comparison with ours."""

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from src.reporting.grid import Cell, Grid, Key
from src.reporting.statistics import one_more
from src.runs.record import chance

LRS = (0.05, 0.0005, 0.0000005)
# Tables 1 to 3 of the assignment: train and test accuracy in percent, one run each; columns are LRS.
_TABLES = {
    ("sgd", 64): ((99.70, 98.82), (98.47, 98.49), (9.74, 9.82)),
    ("sgd", 256): ((99.75, 99.03), (95.55, 95.95), (7.48, 7.37)),
    ("adagrad", 64): ((99.99, 98.96), (93.92, 94.30), (10.22, 10.26)),
    ("adagrad", 256): ((99.75, 99.00), (91.75, 92.30), (9.78, 9.84)),
    ("adam", 64): ((10.70, 11.35), (99.735, 99.07), (62.35, 63.51)),
    ("adam", 256): ((10.72, 10.28), (99.54, 98.93), (36.13, 37.53)),
}
PUBLISHED: dict[Key, tuple[float, float]] = {
    (*row, lr): figures for row, table in _TABLES.items() for lr, figures in zip(LRS, table, strict=True)
}

Verdict = Literal["within noise", "at chance in both", "more than noise explains", "too noisy to tell", "missing"]
USELESS = 0.05  # noise of test accuracy above which nearly any figure would be within noise


@dataclass(frozen=True)
class ReferenceCell:
    """A cell of ours and the published figures."""

    cell: Cell
    train: float  # published, as is test
    test: float
    noise: float | None  # how far one more run of ours may lie from our mean; None if none of ours ended

    @property
    def difference(self) -> float | None:
        return None if self.noise is None else fmean(self.cell.values("test_accuracy").values()) - self.test

    @property
    def at_chance(self) -> bool:
        """True if the published accuracy is at chance, and most of our runs ended there or diverged."""
        return self.test <= chance(10) and bool((self.cell.counted.test_accuracy <= chance(10)).mean() > 0.5)

    @property
    def verdict(self) -> Verdict:
        if self.at_chance:
            return "at chance in both"
        if self.noise is None or self.difference is None:
            return "missing"
        if self.noise > USELESS:
            return "too noisy to tell"
        return "within noise" if abs(self.difference) <= self.noise else "more than noise explains"

    @property
    def row(self) -> dict[str, object]:
        """The cell's row in beside.csv."""
        optimizer, batch_size, lr = self.cell.key
        row: dict[str, object] = {"optimizer": optimizer, "batch_size": batch_size, "lr": lr}
        for figure, published in (("train_accuracy", self.train), ("test_accuracy", self.test)):
            estimate = self.cell.estimate(figure)
            row |= {figure: estimate.value if estimate else None, f"{figure}_published": published}
        return row | {"difference": self.difference, "noise": self.noise, "verdict": self.verdict}


def reference_cells(grid: Grid) -> dict[Key, ReferenceCell]:
    """Compare each published cell that the grid has, in published order."""
    found = {}
    for key, (train, test) in PUBLISHED.items():
        if cell := grid.cells.get(key):
            values = list(cell.values("test_accuracy").values())
            noise = one_more(values, cell.images) if values else None
            found[key] = ReferenceCell(cell, train / 100, test / 100, noise)
    return found


def is_the_assignments(grid: Grid) -> bool:
    """Return True if the grid has the assignment's network, data and epochs, and at least one of its cells."""
    return grid.title == "lenet on mnist, 20 epochs" and any(key in grid.cells for key in PUBLISHED)
