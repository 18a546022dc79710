"""Evidence for the claims: ended cells, differences over shared seeds, and their numbers in words."""

from collections.abc import Sequence
from itertools import product
from statistics import fmean
from typing import Literal

import numpy as np

from src.reporting.grid import Cell, Grid, divergence, with_divergence
from src.reporting.statistics import ALPHA, Comparison, counted, holm, percent, seeds_needed

Verdict = Literal["holds", "does not hold", "cannot be told"]
OPTIMIZERS, BATCHES = ("sgd", "adagrad", "adam"), (64, 256)
HIGH, MIDDLE, LOW, TINY = 0.05, 0.005, 0.0005, 0.0000005
LEARNT = 0.5  # test accuracy below which a run is closer to chance, so that it says little about its settings


def ended(grid: Grid, optimizer: str, batch: int, lr: float) -> Cell | None:
    """Return a cell if one of its runs has ended."""
    cell = grid.cells.get((optimizer, batch, lr))
    return cell if cell and len(cell.runs) else None


def learnt(grid: Grid, optimizer: str, batch: int, lr: float) -> Cell | None:
    """Return a cell if its mean test accuracy is far above chance."""
    cell = ended(grid, optimizer, batch, lr)
    return cell if cell and fmean(cell.values("test_accuracy").values()) > LEARNT else None


def robustness(grid: Grid, optimizer: str) -> dict[int, float]:
    """Return the mean test accuracy over the assignment's cells, by seed, for seeds that ended in all of them."""
    values = [cell.values("test_accuracy") if cell else {} for cell in assigned(grid, optimizer)]
    return {seed: float(np.mean([each[seed] for each in values])) for seed in set.intersection(*map(set, values))}


def assigned(grid: Grid, optimizer: str) -> list[Cell | None]:
    """Return an optimizer's cells at the assignment's lrs and batch sizes, None where no run has ended."""
    return [ended(grid, optimizer, batch, lr) for batch, lr in product(BATCHES, (HIGH, LOW, TINY))]


def best_lrs(grid: Grid, batches: Sequence[int]) -> str:
    """List the best lr of each optimizer and batch size."""
    best = {f"{o}, batch {b}": cell for o, b in product(OPTIMIZERS, batches) if (cell := grid.best(o, b))}
    lrs = {key: with_divergence(f"{cell.key[2]:g}", cell) for key, cell in best.items()}
    return f"Best lr on the {grid.chosen_on} set: {listed(lrs)}"


def accuracy(cell: Cell) -> str:
    """Format a cell's test accuracy, and how many of its runs diverged."""
    estimate = cell.estimate("test_accuracy")
    return with_divergence(f"{percent(estimate)} %", cell) if estimate else divergence(cell)


def direction(found: dict[str, Comparison]) -> Verdict:
    """Return "holds" if all differences are significantly above 0, "does not hold" if one is significantly below."""
    adjusted = holm([each.p for each in found.values()]) if found else []
    signs = [np.sign(each.difference.value) * (p < ALPHA) for each, p in zip(found.values(), adjusted, strict=True)]
    if any(sign < 0 for sign in signs):
        return "does not hold"
    return "holds" if signs and all(sign > 0 for sign in signs) else "cannot be told"


def differences(found: dict[str, Comparison]) -> str:
    """List differences with intervals and adjusted p-values; if there are too few seeds, say how many are needed."""
    if not found:
        return "there are no two such cells"
    adjusted = holm([each.p for each in found.values()])
    texts = {
        key: (f"{percent(each.difference)} points" if each.difference.n else "no shared seeds")
        + ("" if np.isnan(p) else f" (Holm's p {p:.2g})")
        for (key, each), p in zip(found.items(), adjusted, strict=True)
    }
    n, needed = min(each.difference.n for each in found.values()), seeds_needed(len(found))
    few = f"; {counted(n, 'seed is', 'seeds are')} too few, {needed} are needed" if n < needed else ""
    return listed(texts) + few


def listed(items: dict[str, str]) -> str:
    """Join items on one line."""
    return "; ".join(f"{key}: {value}" for key, value in items.items())


def needs(study: str) -> str:
    """Say that runs are missing, and which command trains them."""
    return f"needs missing runs: python -m src.train {study}"
