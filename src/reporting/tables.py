"""Tables of a grid: a formatted one per optimizer, and one of all cells with unrounded numbers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from src.reporting import escapes
from src.reporting.grid import SPARSE, Cell, Grid, divergence, with_divergence
from src.reporting.statistics import Estimate, percent

LEGEND = (
    "Train is the running accuracy over the epoch's minibatches. With several seeds: mean ± half of its 95 % interval "
    "(Student's t); with one seed: ± half of the 95 % interval for this number of test images (Wilson). Brackets: the "
    "range, if the runs lie far apart."
)

FAR_APART = 0.1  # accuracy; half an interval above which the range is shown


def legend(grid: Grid) -> str:
    """Return the legend of a grid's tables."""
    counts = " A diverged run counts as guessing." if divergence(*grid.cells.values()) else ""
    return f"Accuracy in percent after the last epoch, {' / '.join(grid.splits)}. {LEGEND}{counts}"


def accuracy(cell: Cell, figure: str) -> str:
    """Format mean and interval in percent; if the runs lie too far apart for an interval, mean and range."""
    estimate, values = cell.estimate(figure), list(cell.values(figure).values())
    if estimate is None:
        return ""
    if estimate.half > FAR_APART:
        return f"{100 * estimate.value:.0f} [{100 * min(values):.1f} to {100 * max(values):.1f}]"
    return percent(estimate)


def told(cell: Cell, figure: str) -> str:
    """Format an accuracy, and how many of the cell's runs diverged."""
    return with_divergence(accuracy(cell, figure), cell) if cell.estimate(figure) else divergence(cell)


def text(grid: Grid, cell: Cell | None) -> str:
    """Format a cell: accuracies, and how many runs diverged or are missing."""
    if cell is None:
        return "missing"
    test = cell.estimate("test_accuracy")
    n = f" (n={test.n})" if test and test.n > 1 else ""
    parts = [" / ".join(accuracy(cell, f"{split}_accuracy") for split in grid.splits) + n] if test else []
    runs = len(cell.runs)
    if cell.diverged:
        parts.append(divergence(cell))
    if cell.missing:
        parts.append(f"{len(cell.missing)} of {runs + len(cell.missing)} missing" if runs else "missing")
    return ", ".join(parts)


@dataclass(frozen=True)
class Layout:
    """An optimizer's table: column heads, and rows of labels and cells."""

    heads: list[str]
    rows: Sequence[tuple[Sequence[str], Sequence[Cell | None]]]


def layout(grid: Grid, optimizer: str) -> Layout:
    """Lay out batch sizes as rows and lrs as columns; if most would be empty, as after a search, a row per cell."""
    cells = {key[1:]: cell for key, cell in grid.cells.items() if key[0] == optimizer}
    if len(cells) < len(grid.batch_sizes) * len(grid.lrs) / SPARSE:
        rows = [([str(batch), f"{lr:g}"], [cell]) for (batch, lr), cell in cells.items()]
        return Layout(["batch", "lr", "accuracy"], rows)
    by_lr = [([str(batch)], [cells.get((batch, lr)) for lr in grid.lrs]) for batch in grid.batch_sizes]
    return Layout(["batch", *(f"lr {lr:g}" for lr in grid.lrs)], by_lr)


def of_optimizer(grid: Grid, optimizer: str) -> pd.DataFrame:
    """Return an optimizer's table with formatted cells."""
    laid_out = layout(grid, optimizer)
    rows = [[*names, *(text(grid, cell) for cell in cells)] for names, cells in laid_out.rows]
    return pd.DataFrame(rows, columns=laid_out.heads)


def numbers(grid: Grid) -> pd.DataFrame:
    """Return a row per cell with unrounded accuracies and losses; a missing interval is NaN."""
    rows = []
    for (optimizer, batch, lr), cell in grid.cells.items():
        row: dict[str, object] = {"optimizer": optimizer, "batch_size": batch, "lr": lr, "finished": len(cell.finished)}
        row |= {"diverged": cell.diverged, "missing": len(cell.missing)}
        for figure in (f"{split}_{what}" for what in ("accuracy", "loss") for split in grid.splits):
            estimate = cell.estimate(figure) or Estimate(math.nan, math.nan, math.nan, 0)
            row |= {figure: estimate.value, f"{figure}_low": estimate.low, f"{figure}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """Format a table of texts in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join("| " + " | ".join(escapes.markdown(str(entry)) for entry in line) + " |\n" for line in lines)


def latex(tables: Iterable[tuple[str, pd.DataFrame]]) -> str:
    """Format tables with captions in LaTeX; the document needs the package booktabs."""
    parts = []
    for caption, table in tables:
        typeset = table.map(lambda entry: escapes.latex(str(entry))).rename(columns=escapes.latex)
        columns = "r" + "c" * (len(table.columns) - 1)
        parts.append(
            typeset.style.hide(axis="index").to_latex(
                hrules=True, column_format=columns, caption=escapes.latex(caption), position="ht"
            )
        )
    return "% \\usepackage{booktabs}\n" + "\n".join(parts)
