"""Answers to a report's three questions: which learning rate, which optimizer, which batch size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from src.reporting.comparisons import Pair, compare_all
from src.reporting.grid import Cell, Grid, with_divergence
from src.reporting.statistics import MCNEMAR, counted, percent, seeds_needed
from src.reporting.tables import told

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
        tried = sorted({key[2] for key, cell in grid.cells.items() if key[0] == name and len(cell.runs)})
        cells = {lr: cell for lr in tried if (cell := _best_at(grid, name, lr))}
        scores = {lr: grid.score(cell) for lr, cell in cells.items()}
        if not scores:
            rows.append([name, "none: no run finished", ""])
            continue
        lr = max(scores, key=lambda each: scores[each])
        named = with_divergence(f"{lr:g}", cells[lr])
        low, high = close_range(tried, scores, lr)
        if len(tried) > 1 and lr in (tried[0], tried[-1]):
            beyond.append(f"{name} {'below' if lr == tried[0] else 'above'} {lr:g}")
        best.append(f"{name} {named}")
        close = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        rows.append([name, named, close if len(tried) > 1 else "no other was tried"])
    evidence = [f"Best on the grid's edge; try {', '.join(beyond)}."] if beyond else []
    evidence.append(f"By {grid.chosen_on} accuracy at the best batch size, among the values tried only.")
    return Answer("Which learning rate?", ", ".join(best), evidence, ["", "best", "within half a point"], rows)


def optimizer(grid: Grid) -> Answer:
    """Name the optimizer of the highest score and those that no test tells from it, each at its best cell."""
    cells = {name: cell for name in grid.optimizers if (cell := grid.best_of(name))}
    ranked = _ranked(grid, "Which optimizer?", cells)
    rows = [[*row, f"{cells[row[0]].key[1]}", f"{cells[row[0]].key[2]:g}"] for row in ranked.rows]
    ranked = replace(ranked, heads=[*ranked.heads, "batch", "lr"], rows=rows)
    if not (several := {name: n for name, cell in cells.items() if (n := cell.gradients_an_update) > 1}):
        return ranked
    told = ", ".join(f"{name} {n:.3g}" for name, n in several.items())
    unequal = (
        f"Gradients an update: {told}, others 1. Equal epochs are not equal work; compare by gradients or seconds."
    )
    return _with_costs(replace(ranked, evidence=[*ranked.evidence, unequal]), cells, ["gradients", "seconds"])


def batch_size(grid: Grid) -> Answer:
    """Name the batch sizes likewise, at equal epochs, and what each needs to reach a common accuracy."""
    cells = {str(size): cell for size in grid.batch_sizes if (cell := grid.best_of(size))}
    ranked = _ranked(grid, "Which batch size?", cells)
    heads, evidence = [*ranked.heads, "with"], list(ranked.evidence)
    rows = [[*row, f"{cells[row[0]].key[0]} {cells[row[0]].key[2]:g}"] for row in ranked.rows]
    if len({cell.key[0] for cell in cells.values()}) > 1:
        evidence.append("Their optimizers differ, so batch size is not all that is compared.")
    several = any(cell.gradients_an_update > 1 for cell in cells.values())
    costs = ["epochs", "updates", *(["gradients"] if several else []), "seconds"]
    return _with_costs(replace(ranked, heads=heads, rows=rows, evidence=evidence), cells, costs)


def _with_costs(answer: Answer, cells: dict[str, Cell], costs: list[str]) -> Answer:
    """Add what each cell needs to reach a common accuracy."""
    if not (target := common_target(list(cells.values()))):
        return answer
    until = (
        f"{', '.join(costs[:-1]).capitalize()} and {costs[-1]} until {100 * target:g} % of the test images are right"
    )
    lost = "; a diverged run never gets there" if any(cell.diverged for cell in cells.values()) else ""
    return replace(
        answer,
        heads=[*answer.heads, *costs],
        rows=[[*row, *needed(cells[row[0]], target, costs)] for row in answer.rows],
        evidence=[*answer.evidence, f"{until}: medians{lost}."],
    )


def common_target(cells: list[Cell]) -> float | None:
    """Return a test accuracy half a point below the lowest mean of the cells, rounded down to 0.1 points.

    Cells at chance are left out; None if all are.
    """
    means = [fmean(cell.values("test_accuracy").values()) for cell in cells if not cell.at_chance]
    return math.floor(1000 * (min(means) - CLOSE)) / 1000 if means else None


def needed(cell: Cell, target: float, costs: Sequence[str] = ("epochs", "updates", "seconds")) -> list[str]:
    """Return the medians over runs of these costs, until `target` test accuracy is reached.

    A run that diverged or did not get there takes for ever.
    """
    curves = {cost: cell.by_epoch(cost) for cost in costs if cost != "epochs"}
    if "seconds" in curves:
        curves["seconds"] = curves["seconds"].cumsum()
    figures = [
        [
            [curves[cost].loc[epoch, run] if cost in curves else epoch for cost in costs]
            if epoch
            else [math.inf] * len(costs)
        ]
        for run, epoch in cell.reached(target).items()
    ]
    forms = {"epochs": "g", "seconds": ",.1f"}
    medians = np.median(np.concatenate(figures), axis=0)
    return [
        "never" if math.isinf(m) else f"{m:{forms.get(cost, ',.0f')}}" for cost, m in zip(costs, medians, strict=True)
    ]


def _best_at(grid: Grid, optimizer: str, lr: float) -> Cell | None:
    cells = [cell for key, cell in grid.cells.items() if (key[0], key[2]) == (optimizer, lr)]
    return grid.highest(filter(grid.can_be_chosen, cells))


def close_range(tried: list[float], scores: dict[float, float], best: float) -> tuple[float, float]:
    """Return the lowest and highest of the neighbouring lrs within half a point of the best one."""
    close = [scores.get(lr, -math.inf) >= scores[best] - CLOSE for lr in tried]
    low = high = tried.index(best)
    while low > 0 and close[low - 1]:
        low -= 1
    while high + 1 < len(tried) and close[high + 1]:
        high += 1
    return tried[low], tried[high]


def _ranked(grid: Grid, question: str, cells: dict[str, Cell]) -> Answer:
    """Compare each cell with the one of the highest score, and name those that no test tells from it."""
    first, *others = sorted(cells, key=lambda name: -grid.score(cells[name]))
    pairs = compare_all([cells[name] for name in (first, *others)])
    against = dict(zip(others, pairs, strict=False))  # the first pairs are those with the first cell
    named = {name: with_divergence(name, cell) for name, cell in cells.items()}
    level = [name for name in others if against[name].winner is None]
    *most, last = [named[name] for name in (first, *level)]
    answer = f"{', '.join(most)} or {last} (cannot be told apart)" if level else last
    if better := [named[name] for name in others if against[name].winner is cells[name]]:
        answer += f", though {' and '.join(better)} did better on the test set"
    differences = [
        f"{named[first]} minus {named[name]}: {percent(pair.comparison.difference)} points"
        + (", significant" if pair.winner else "")
        for name, pair in against.items()
        if pair.comparison.difference.n
    ]
    evidence = [f"{'; '.join(differences)}."] if differences else []
    evidence += dict.fromkeys(_why(pair) for pair in against.values() if pair.untestable)
    tests = {pair.comparison.test for pair in against.values()}
    basis = f"Each at its best cell by {grid.chosen_on} accuracy"
    if not others:
        evidence.append("No other has a finished run.")
    elif MCNEMAR in tests:
        evidence.append(f"{basis}; {MCNEMAR} on the test images, which says nothing about other seeds.")
        answer += " by one seed" if not level else ""
    else:
        evidence.append(f"{basis}; tested over shared seeds.")
    rows = [[name, told(cells[name], "test_accuracy")] for name in (first, *others)]
    return Answer(question, answer, evidence, ["", "test %"], rows)


def _why(pair: Pair) -> str:
    """Return the reason why a test of the pair cannot be significant."""
    if math.isnan(pair.comparison.p):
        return f"{pair.verdict.capitalize()}."
    shared = counted(pair.comparison.difference.n, "seed")
    return f"With {shared} no difference can be significant here; it takes at least {seeds_needed(pair.tests)}."
