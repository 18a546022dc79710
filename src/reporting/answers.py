"""Answers to a report's three questions: which learning rate, which optimizer, which batch size."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from src.reporting.comparisons import Pair, compare_all
from src.reporting.grid import Cell, Grid
from src.reporting.statistics import counted, percent, seeds_needed

CLOSE = 0.005  # accuracy: half a point


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, and the evidence: a table and sentences."""

    question: str
    answer: str
    evidence: list[str]
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """Question and answer on one line."""
        return f"{self.question} {self.answer}."


def answers(grid: Grid) -> list[Answer]:
    """Answer the questions about those settings of which the grid has several values."""
    asked = [
        (learning_rate, len(grid.lrs)),
        (optimizer, len(grid.optimizers)),
        (batch_size, len(grid.batch_sizes)),
    ]
    return [answer(grid) for answer, values in asked if values > 1 and grid.best_cells]


def learning_rate(grid: Grid) -> Answer:
    """Name the best lr of each optimizer, the range within half a point of it, and whether the grid ends there."""
    best, rows, beyond = [], [], []
    for name in grid.optimizers:
        tried = sorted({lr for optimizer, _, lr in grid.cells if optimizer == name})
        scores = {lr: max(each) for lr in tried if (each := _scores(grid, name, lr))}
        if not scores:
            rows.append([name, "none: diverged or missing", ""])
            continue
        lr = max(scores, key=lambda each: scores[each])
        low, high = _range(tried, scores, lr)
        if len(tried) > 1 and lr in (tried[0], tried[-1]):
            beyond.append(f"{name} {'below' if lr == tried[0] else 'above'} {lr:g}")
        best.append(f"{name} {lr:g}")
        rows.append([name, f"{lr:g}", f"{low:g}" if low == high else f"{low:g} to {high:g}"])
    evidence = [f"Best on the grid's edge; try {', '.join(beyond)}."] if beyond else []
    evidence.append(f"By {grid.chosen_on} accuracy at the best batch size, among the values tried only.")
    return Answer("Which learning rate?", ", ".join(best), evidence, ["", "best", "within half a point"], rows)


def optimizer(grid: Grid) -> Answer:
    """Name the optimizers that none is significantly better than, each at its best lr and batch size."""
    cells = {name: _best(grid, [cell for cell in grid.best_cells if cell.key[0] == name]) for name in grid.optimizers}
    found = {name: cell for name, cell in cells.items() if cell}
    ranked = _ranked(grid, "Which optimizer?", found)
    rows = [[*row, f"{found[row[0]].key[1]}", f"{found[row[0]].key[2]:g}"] for row in ranked.rows]
    return replace(ranked, heads=[*ranked.heads, "batch", "lr"], rows=rows)


def batch_size(grid: Grid) -> Answer:
    """Name the best batch sizes at equal epochs, and what each needs to reach an accuracy that all of them reach."""
    best = {size: _best(grid, [cell for cell in grid.best_cells if cell.key[1] == size]) for size in grid.batch_sizes}
    cells = {str(size): cell for size, cell in best.items() if cell}
    ranked = _ranked(grid, "Which batch size?", cells)
    target = common_target(list(cells.values()))
    rows = [
        [*row, f"{cells[row[0]].key[0]} {cells[row[0]].key[2]:g}", *needed(cells[row[0]], target)]
        for row in ranked.rows
    ]
    goal = f"Epochs, updates and seconds: medians until test accuracy is {100 * target:g} %, which all of these reach."
    heads = [*ranked.heads, "with", "epochs", "updates", "seconds"]
    return replace(ranked, evidence=[*ranked.evidence, goal], heads=heads, rows=rows)


def common_target(cells: list[Cell]) -> float:
    """Return a test accuracy half a point below the lowest mean of the cells, rounded down to 0.1 points."""
    lowest = min(float(cell.finished.test_accuracy.mean()) for cell in cells)
    return math.floor(1000 * (lowest - CLOSE)) / 1000


def needed(cell: Cell, target: float) -> list[str]:
    """Return the epochs, updates and training seconds, medians over runs, until `target` test accuracy is reached."""
    accuracy = cell.by_epoch("test_accuracy")[cell.finished.index]
    reached = [column.index[column >= target][:1] for _, column in accuracy.items()]
    updates, seconds = cell.by_epoch("updates"), cell.by_epoch("seconds").cumsum()
    texts = []
    for figure in (None, updates, seconds):
        values = [
            math.inf if not len(at) else float(at[0] if figure is None else figure.loc[at[0], run])
            for run, at in zip(accuracy.columns, reached, strict=True)
        ]
        median = float(np.median(values))
        form = ",.0f" if figure is updates else ",.1f" if figure is seconds else "g"
        texts.append("never" if math.isinf(median) else f"{median:{form}}")
    return texts


def _scores(grid: Grid, optimizer: str, lr: float) -> list[float]:
    cells = [cell for key, cell in grid.cells.items() if (key[0], key[2]) == (optimizer, lr)]
    return [grid.score(cell) for cell in cells if grid.can_be_chosen(cell)]


def _range(tried: list[float], scores: dict[float, float], best: float) -> tuple[float, float]:
    """Return the lowest and highest of the neighbouring lrs within half a point of the best one."""
    close = [scores.get(lr, -math.inf) >= scores[best] - CLOSE for lr in tried]
    low = high = tried.index(best)
    while low > 0 and close[low - 1]:
        low -= 1
    while high + 1 < len(tried) and close[high + 1]:
        high += 1
    return tried[low], tried[high]


def _best(grid: Grid, cells: list[Cell]) -> Cell | None:
    return max(cells, key=grid.score, default=None)


def _ranked(grid: Grid, question: str, cells: dict[str, Cell]) -> Answer:
    """Compare each cell with the one of the highest score, and name those that are not significantly worse."""
    first, *others = sorted(cells, key=lambda name: -grid.score(cells[name]))
    pairs = compare_all([cells[name] for name in (first, *others)])
    against = dict(zip(others, pairs, strict=False))  # the first pairs are those with the first cell
    level = [name for name in others if against[name].winner is not cells[first]]
    *most, last = [first, *level]
    answer = f"{', '.join(most)} or {last} (cannot be told apart)" if level else first
    told = [
        f"{first} minus {name}: {percent(pair.comparison.difference)} points"
        + {None: "", cells[first]: ", significant"}.get(pair.winner, ", significant the other way")
        for name, pair in against.items()
    ]
    evidence = [f"{'; '.join(told)}."] if told else ["No other has a cell of finished runs only."]
    evidence += sorted({_why(pair) for pair in against.values() if pair.untestable})
    evidence.append(f"Each at its best cell by {grid.chosen_on} accuracy; tested over shared seeds.")
    rows = [[name, _accuracy(cells[name])] for name in (first, *others)]
    return Answer(question, answer, evidence, ["", "test %"], rows)


def _why(pair: Pair) -> str:
    """Return the reason why a test of the pair cannot be significant."""
    if math.isnan(pair.comparison.p):
        return f"{pair.verdict.capitalize()}."
    shared = counted(pair.comparison.difference.n, "seed")
    return f"With {shared} no difference can be significant here; it takes at least {seeds_needed(pair.tests)}."


def _accuracy(cell: Cell) -> str:
    estimate = cell.estimate("test_accuracy")
    assert estimate is not None
    return percent(estimate)
