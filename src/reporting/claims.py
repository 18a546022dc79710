"""The assignment's seven claims, each with the test that decides it on our runs."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np

from src.reporting.comparisons import paired
from src.reporting.grid import Cell, Grid
from src.reporting.statistics import ALPHA, Comparison, Estimate, compare, holm, mean_interval, percent, seeds_needed

Verdict = Literal["holds", "does not hold", "cannot be told"]
OPTIMIZERS, BATCHES = ("sgd", "adagrad", "adam"), (64, 256)
HIGH, MIDDLE, LOW, TINY = 0.05, 0.005, 0.0005, 0.0000005
SATISFACTORY = 0.95  # of test accuracy: below, a network has not learnt its task
LEARNT = 0.5  # below, a run is rather at chance, and its accuracy says little of its settings
CHANCE = 0.15  # an accuracy up to here is that of guessing one of ten classes
SETTLED = 0.01  # of test accuracy gained after an epoch, at most
MARGIN = 0.002  # of test accuracy: less is no difference to care about


@dataclass(frozen=True)
class Claim:
    """What is claimed, what decides it, what that gives, and the numbers."""

    text: str
    test: str
    verdict: Verdict
    numbers: str


def claims(grid: Grid) -> list[Claim]:
    """All seven."""
    decided: list[Callable[[Grid], Claim]] = [
        tiny_lr, batch_and_lr, smaller_batch, sgd_struggles, adam_diverges, adam_is_robust, growing_batch,
    ]  # fmt: skip
    return [decide(grid) for decide in decided]


def tiny_lr(grid: Grid) -> Claim:
    """Claim 1."""
    text = "At lr 5e-7 every setting is unsatisfactory, whatever the batch size."
    test = f"Holds if the interval of each cell's mean test accuracy lies below {SATISFACTORY:.0%}."
    found = _estimates(grid, TINY)
    if len(found) < 6:
        return Claim(text, test, "cannot be told", _train("+study=assignment"))
    numbers = _list({f"{o}, batch {b}": f"{percent(e)} %" for (o, b), e in found.items()})
    if any(e.value >= SATISFACTORY for e in found.values()):
        return Claim(text, test, "does not hold", numbers)
    below = all(np.nan_to_num(e.high, nan=e.value) < SATISFACTORY for e in found.values())
    return Claim(text, test, "holds" if below else "cannot be told", numbers)


def batch_and_lr(grid: Grid) -> Claim:
    """Claim 2."""
    text = "Batch size and good learning rate rise together: a larger batch wants a larger lr."
    test = (
        "For each optimizer and two neighbouring lrs at which it learns: does the larger lr help batch 256 more than "
        "batch 64? (Difference of differences over shared seeds, sign flips, Holm.)"
    )
    lrs = [lr for lr in (HIGH, MIDDLE, LOW) if any(key[2] == lr for key in grid.cells)]
    gains: dict[str, Comparison] = {}
    for optimizer, (larger, smaller) in product(OPTIMIZERS, pairwise(lrs)):
        cells = [grid.cells.get((optimizer, batch, lr)) for batch in (256, 64) for lr in (larger, smaller)]
        values = [cell.values("test_accuracy") if cell else {} for cell in cells]
        shared = sorted(set.intersection(*map(set, values)))
        if shared and all(np.mean(list(each.values())) > LEARNT for each in values):
            large, small = ([up[s] - down[s] for s in shared] for up, down in (values[:2], values[2:]))
            gains[f"{optimizer}, lr {larger:g} and {smaller:g}"] = compare(large, small)
    best = {
        f"{o}, batch {b}": f"{cell.key[2]:g}"
        for o, b in product(OPTIMIZERS, grid.batch_sizes)
        if (cell := grid.best(o, b))
    }
    return Claim(text, test, _direction(gains), f"{_differences(gains)}. Best lr on the test set: {_list(best)}")


def smaller_batch(grid: Grid) -> Claim:
    """Claim 3."""
    text = 'A smaller batch does better than a larger one "in general".'
    test = "Test accuracy at batch 64 less that at 256, each optimizer and lr at which both learn (sign flips, Holm)."
    found: dict[str, Comparison] = {}
    for optimizer, lr in product(OPTIMIZERS, grid.lrs):
        cells = [grid.cells.get((optimizer, batch, lr)) for batch in BATCHES]
        if all(cell and len(cell.finished) and cell.finished.test_accuracy.mean() > LEARNT for cell in cells):
            found[f"{optimizer}, lr {lr:g}"] = paired(*cells)  # type: ignore[arg-type]  # none is None
    return Claim(text, test, _direction(found), _differences(found))


def sgd_struggles(grid: Grid) -> Claim:
    """Claim 4."""
    text = "At lr 5e-4 and batch 256, SGD still struggles after 5 epochs while Adam and AdaGrad have settled."
    test = (
        f"Test accuracy gained after epoch 5: holds if SGD's interval lies above {SETTLED:.0%} and the others' below."
    )
    gained: dict[str, Estimate] = {}
    for optimizer in OPTIMIZERS:
        cell = grid.cells.get((optimizer, 256, LOW))
        if cell and len(cell.finished) and cell.curves.index.get_level_values("epoch").max() > 5:
            accuracy = cell.by_epoch("test_accuracy")[cell.finished.index]
            gained[optimizer] = mean_interval((accuracy.iloc[-1] - accuracy.loc[5]).tolist())
    if len(gained) < 3:
        return Claim(text, test, "cannot be told", _train("+study=assignment"))
    numbers = _list({o: f"{percent(e)} points" for o, e in gained.items()})
    bounds = {o: (np.nan_to_num(e.low, nan=e.value), np.nan_to_num(e.high, nan=e.value)) for o, e in gained.items()}
    settled = all(bounds[o][1] < SETTLED for o in ("adagrad", "adam"))
    if bounds["sgd"][1] < SETTLED or any(bounds[o][0] > SETTLED for o in ("adagrad", "adam")):
        return Claim(text, test, "does not hold", numbers)
    return Claim(text, test, "holds" if settled and bounds["sgd"][0] > SETTLED else "cannot be told", numbers)


def adam_diverges(grid: Grid) -> Claim:
    """Claim 5."""
    text = "Adam at lr 0.05 diverges."
    test = f"Holds if every run's loss diverged or its test accuracy ended at chance (up to {CHANCE:.0%})."
    cells = {b: cell for b in BATCHES if (cell := grid.cells.get(("adam", b, HIGH))) and len(cell.runs)}
    if not cells:
        return Claim(text, test, "cannot be told", _train("+study=assignment"))
    lost = {b: int((cell.finished.test_accuracy <= CHANCE).sum()) for b, cell in cells.items()}
    numbers = _list({
        f"batch {b}": f"{cell.diverged} of {len(cell.runs)} diverged, {lost[b]} at chance" for b, cell in cells.items()
    })  # fmt: skip
    all_lost = all(cell.diverged + lost[b] == len(cell.runs) for b, cell in cells.items())
    return Claim(text, test, "holds" if all_lost else "does not hold", numbers)


def adam_is_robust(grid: Grid) -> Claim:
    """Claim 6."""
    text = "Adam is the most robust of the three optimizers, and 0.005 the best learning rate for nearly all of them."
    test = (
        "Robust: the mean test accuracy over the assignment's lrs and batch sizes, a diverged run counted as 10 %, is "
        "higher than the others' (sign flips, Holm). Best: 0.005 has the highest mean test accuracy in most rows."
    )
    scores = {optimizer: _robustness(grid, optimizer) for optimizer in OPTIMIZERS}
    found = {
        f"adam less {other}": compare([scores["adam"][s] for s in shared], [scores[other][s] for s in shared])
        for other in ("sgd", "adagrad")
        if (shared := sorted(set(scores["adam"]) & set(scores[other])))
    }
    best = {f"{o}, batch {b}": cell.key[2] for o, b in product(OPTIMIZERS, BATCHES) if (cell := grid.best(o, b))}
    numbers = f"{_differences(found)}. Best lr on the test set: {_list({k: f'{lr:g}' for k, lr in best.items()})}"
    robust = _direction(found)
    if not any(key[2] == MIDDLE for key in grid.cells):
        verdict: Verdict = "does not hold" if robust == "does not hold" else "cannot be told"
        return Claim(text, test, verdict, f"{numbers}. lr 0.005: {_train('+study=claims')}")
    mostly = sum(lr == MIDDLE for lr in best.values()) > len(best) / 2
    return Claim(text, test, robust if mostly else "does not hold", numbers)


def growing_batch(grid: Grid) -> Claim:
    """Claim 7."""
    text = "Growing the batch instead of decaying the lr is equivalent, and needs fewer updates."
    test = f"Holds if the 95 % interval of the difference in test accuracy lies within {100 * MARGIN:g} points of 0."
    step, grown = (
        [c for (o, *_), c in grid.cells.items() if o == f"sgd {schedule}"] for schedule in ("step", "grow_batch")
    )
    if not (step and grown):
        return Claim(text, test, "cannot be told", _train("+study=batch_growth"))
    difference = paired(grown[0], step[0]).difference
    updates = [f"{int(cell.finished.updates.iloc[0]):,}" for cell in (grown[0], step[0])]
    numbers = (
        f"grow_batch less step: {percent(difference)} points (n = {difference.n}); {' and '.join(updates)} updates"
    )
    if abs(difference.low) < MARGIN and abs(difference.high) < MARGIN:
        return Claim(text, test, "holds", numbers)
    apart = difference.low > MARGIN or difference.high < -MARGIN
    return Claim(text, test, "does not hold" if apart else "cannot be told", numbers)


def _robustness(grid: Grid, optimizer: str) -> dict[int, float]:
    """By seed: the mean over the assignment's cells of the seeds that have ended in all of them."""
    cells = [grid.cells.get((optimizer, batch, lr)) for batch, lr in product(BATCHES, (HIGH, LOW, TINY))]
    values = [_scores(cell) if cell else {} for cell in cells]
    return {seed: float(np.mean([each[seed] for each in values])) for seed in set.intersection(*map(set, values))}


def _scores(cell: Cell) -> dict[int, float]:
    accuracy = cell.runs.test_accuracy.where(cell.runs.status == "finished", 0.1)
    return dict(zip(cell.runs.seed, accuracy, strict=True))


def _estimates(grid: Grid, lr: float) -> dict[tuple[str, int], Estimate]:
    keys = product(OPTIMIZERS, BATCHES)
    cells = {key: cell for key in keys if (cell := grid.cells.get((*key, lr)))}
    return {key: estimate for key, cell in cells.items() if (estimate := cell.estimate("test_accuracy"))}


def _direction(found: dict[str, Comparison]) -> Verdict:
    """Holds if every difference is positive beyond doubt, does not if one is negative beyond doubt."""
    adjusted = holm([each.p for each in found.values()]) if found else []
    signs = [np.sign(each.difference.value) * (p < ALPHA) for each, p in zip(found.values(), adjusted, strict=True)]
    if any(sign < 0 for sign in signs):
        return "does not hold"
    return "holds" if signs and all(sign > 0 for sign in signs) else "cannot be told"


def _differences(found: dict[str, Comparison]) -> str:
    if not found:
        return "no two such cells are there"
    adjusted = holm([each.p for each in found.values()])
    texts = {
        key: f"{percent(each.difference)} points" + ("" if np.isnan(p) else f" (p {p:.2g})")
        for (key, each), p in zip(found.items(), adjusted, strict=True)
    }
    n, needed = min(each.difference.n for each in found.values()), seeds_needed(len(found))
    few = f"; {n} seed{'s' * (n != 1)} cannot give significance, {needed} can" if n < needed else ""
    return _list(texts) + few


def _list(items: dict[str, str]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in items.items())


def _train(study: str) -> str:
    return f"needs runs that are not there: python -m src.train {study}"
