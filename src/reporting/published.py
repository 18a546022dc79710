"""The assignment's own figures, and ours beside them."""

from dataclasses import dataclass

from src.reporting.grid import Cell, Grid, Key
from src.reporting.statistics import one_more

LRS = (0.05, 0.0005, 0.0000005)
# Tables 1 to 3: train and test accuracy in percent, one run each; columns are LRS.
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


@dataclass(frozen=True)
class Beside:
    """A cell of ours, the published test accuracy (0 to 1), and how far from our mean one more run of ours may lie."""

    cell: Cell
    published: float
    noise: float

    @property
    def difference(self) -> float:
        return float(self.cell.finished.test_accuracy.mean()) - self.published

    @property
    def verdict(self) -> str:
        return "within noise" if abs(self.difference) <= self.noise else "more than noise explains"


def beside(grid: Grid) -> dict[Key, Beside | None]:
    """Each published cell that the grid has, in its order; None where none of ours finished."""
    found: dict[Key, Beside | None] = {}
    for key, (_, test) in PUBLISHED.items():
        if cell := grid.cells.get(key):
            values = list(cell.values("test_accuracy").values())
            found[key] = Beside(cell, test / 100, one_more(values, cell.images)) if values else None
    return found


def is_the_assignments(grid: Grid) -> bool:
    """Whether its tables can be set beside ours: the same network, data and epochs, and at least one of its cells."""
    return grid.title == "lenet on mnist, 20 epochs" and any(key in grid.cells for key in PUBLISHED)
