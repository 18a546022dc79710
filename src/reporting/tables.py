"""Tables of a grid: one an optimizer, for people, and all cells in numbers, for programs."""

import math
from collections.abc import Iterable

import pandas as pd

from src.reporting.grid import Cell, Grid
from src.reporting.statistics import Estimate, percent

LEGEND = (
    "Accuracy in percent after the last epoch, train / test. Train is the running accuracy over the epoch's "
    "minibatches. With several seeds: mean ± half of its 95 % interval (Student's t); with one, ± is what the number "
    "of test images leaves open (Wilson)."
)


def text(cell: Cell | None) -> str:
    """A cell for people: what finished, and how many runs diverged or are missing."""
    if cell is None:
        return "missing"
    train, test = cell.estimate("train_accuracy"), cell.estimate("test_accuracy")
    n = f" (n={test.n})" if test and test.n > 1 else ""
    parts = [f"{percent(train)} / {percent(test)}{n}"] if train and test else []
    runs = len(cell.runs)
    if cell.diverged:
        parts.append(f"diverged {cell.diverged}/{runs}")
    if cell.missing:
        parts.append(f"missing {len(cell.missing)}/{runs + len(cell.missing)}" if runs else "missing")
    return ", ".join(parts)


def of_optimizer(grid: Grid, optimizer: str) -> pd.DataFrame:
    """Rows are batch sizes, columns lrs, and entries texts."""
    rows = {
        batch: {f"lr {lr:g}": text(grid.cells.get((optimizer, batch, lr))) for lr in grid.lrs}
        for batch in grid.batch_sizes
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("batch")


def numbers(grid: Grid) -> pd.DataFrame:
    """A row a cell, accuracies and losses unrounded; intervals are empty where there is none."""
    rows = []
    for (optimizer, batch, lr), cell in grid.cells.items():
        row: dict[str, object] = {"optimizer": optimizer, "batch_size": batch, "lr": lr, "finished": len(cell.finished)}
        row |= {"diverged": cell.diverged, "missing": len(cell.missing)}
        for figure in ("train_accuracy", "test_accuracy", "train_loss", "test_loss"):
            estimate = cell.estimate(figure) or Estimate(math.nan, math.nan, math.nan, 0)
            row |= {figure: estimate.value, f"{figure}_low": estimate.low, f"{figure}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    flat = table.reset_index()
    lines = [list(flat.columns), ["---"] * len(flat.columns), *flat.to_numpy().tolist()]
    return "".join("| " + " | ".join(str(entry) for entry in line) + " |\n" for line in lines)


def latex(tables: Iterable[tuple[str, pd.DataFrame]]) -> str:
    """Tables with their captions, in LaTeX; the document needs the package booktabs."""
    parts = []
    for caption, table in tables:
        caption = caption.replace("%", r"\%").replace("_", r"\_")
        flat = table.reset_index()
        typeset = flat.map(lambda entry: str(entry).replace(" ± ", r" $\pm$ "))
        columns = "r" + "c" * (len(flat.columns) - 1)
        parts.append(
            typeset.style.hide(axis="index").to_latex(
                hrules=True, column_format=columns, caption=caption, position="ht"
            )
        )
    return "% \\usepackage{booktabs}\n" + "\n".join(parts)
