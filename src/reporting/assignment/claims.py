"""The assignment's seven claims, each with the test that decides it on our runs."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

from src.reporting.assignment.evidence import (
    BATCHES,
    HIGH,
    LOW,
    MIDDLE,
    OPTIMIZERS,
    TINY,
    Verdict,
    accuracy,
    assigned,
    best_lrs,
    differences,
    direction,
    ended,
    learnt,
    listed,
    needs,
    robustness,
)
from src.reporting.comparisons import over_shared
from src.reporting.grid import Grid, divergence, with_divergence
from src.reporting.statistics import Comparison, Estimate, mean_interval, percent, share_interval
from src.runs.record import chance

SATISFACTORY = 0.95  # test accuracy below which a network has not learnt its task
SETTLED = 0.01  # gain of test accuracy below which a run has settled
MARGIN = 0.002  # differences of test accuracy below this are irrelevant
ALL_OR_ONE = "holds if all differences are significantly above 0, does not hold if one is significantly below.)"


@dataclass(frozen=True)
class Claim:
    """A claim, the test that decides it, its verdict and its numbers."""

    text: str
    test: str
    verdict: Verdict
    numbers: str


def claims(grid: Grid) -> list[Claim]:
    """Decide all seven claims."""
    decided: list[Callable[[Grid], Claim]] = [
        tiny_lr, batch_and_lr, smaller_batch, sgd_struggles, adam_diverges, adam_is_robust, growing_batch,
    ]  # fmt: skip
    return [decide(grid) for decide in decided]


def tiny_lr(grid: Grid) -> Claim:
    """Claim 1."""
    text = "At lr 5e-7 every setting is unsatisfactory, whatever the batch size."
    test = (
        f"Holds if the interval of each cell's mean test accuracy lies below {SATISFACTORY:.0%} (a diverged "
        "run counts as guessing), does not hold if one lies above."
    )
    cells = {f"{o}, batch {b}": c for o, b in product(OPTIMIZERS, BATCHES) if (c := ended(grid, o, b, TINY))}
    if len(cells) < 6:
        return Claim(text, test, "cannot be told", needs("+study=assignment"))
    numbers = listed({key: accuracy(cell) for key, cell in cells.items()})
    found = [estimate for cell in cells.values() if (estimate := cell.estimate("test_accuracy"))]
    if any(estimate.low > SATISFACTORY for estimate in found):
        return Claim(text, test, "does not hold", numbers)
    below = all(estimate.high < SATISFACTORY for estimate in found)
    return Claim(text, test, "holds" if below else "cannot be told", numbers)


def batch_and_lr(grid: Grid) -> Claim:
    """Claim 2."""
    text = "Batch size and good learning rate rise together: a larger batch needs a larger lr."
    test = (
        "For each optimizer and two neighbouring lrs at which it learns: does the larger lr help batch 256 more than "
        "batch 64? (Difference of differences over shared seeds, sign flips, Holm: " + ALL_OR_ONE
    )
    gains: dict[str, Comparison] = {}
    for optimizer in OPTIMIZERS:
        lrs = [lr for lr in (HIGH, MIDDLE, LOW) if all(learnt(grid, optimizer, batch, lr) for batch in BATCHES)]
        for larger, smaller in pairwise(lrs):
            gain = {}
            for batch in BATCHES:
                up, down = (grid.cells[optimizer, batch, lr].values("test_accuracy") for lr in (larger, smaller))
                gain[batch] = {seed: up[seed] - down[seed] for seed in set(up) & set(down)}
            cells = [grid.cells[optimizer, batch, lr] for batch in BATCHES for lr in (larger, smaller)]
            key = with_divergence(f"{optimizer}, lr {larger:g} and {smaller:g}", *cells)
            gains[key] = over_shared(gain[256], gain[64])
    return Claim(text, test, direction(gains), f"{differences(gains)}. {best_lrs(grid, grid.batch_sizes)}")


def smaller_batch(grid: Grid) -> Claim:
    """Claim 3."""
    text = 'A smaller batch does better than a larger one "in general".'
    test = (
        "Test accuracy at batch 64 less that at 256, each optimizer and lr at which both learn (sign flips, Holm: "
        + ALL_OR_ONE
    )
    found: dict[str, Comparison] = {}
    for optimizer, lr in product(OPTIMIZERS, grid.lrs):
        small, large = (learnt(grid, optimizer, batch, lr) for batch in BATCHES)
        if small and large:
            values = small.values("test_accuracy"), large.values("test_accuracy")
            found[with_divergence(f"{optimizer}, lr {lr:g}", small, large)] = over_shared(*values)
    return Claim(text, test, direction(found), differences(found))


def sgd_struggles(grid: Grid) -> Claim:
    """Claim 4."""
    text = "At lr 5e-4 and batch 256, SGD still struggles after 5 epochs while Adam and AdaGrad have settled."
    test = (
        f"Test accuracy gained after epoch 5: holds if SGD's interval lies above {100 * SETTLED:g} point and the "
        "others' below, does not hold if one lies on the other side. "
        "Cannot be told if a run diverged."
    )
    gained: dict[str, Estimate] = {}
    cells = {optimizer: cell for optimizer in OPTIMIZERS if (cell := ended(grid, optimizer, 256, LOW))}
    if lost := {optimizer: divergence(cell) for optimizer, cell in cells.items() if cell.diverged}:
        return Claim(
            text, test, "cannot be told", f"{listed(lost)}; what a diverged run would have gained is not known"
        )
    for optimizer, cell in cells.items():
        if cell.curves.index.get_level_values("epoch").max() > 5:
            accuracy = cell.by_epoch("test_accuracy")
            gained[optimizer] = mean_interval((accuracy.iloc[-1] - accuracy.loc[5]).tolist())
    if len(gained) < 3:
        return Claim(text, test, "cannot be told", needs("+study=assignment"))
    numbers = listed({optimizer: f"{percent(gain)} points" for optimizer, gain in gained.items()})
    sgd, *others = (gained[optimizer] for optimizer in OPTIMIZERS)
    if sgd.high < SETTLED or any(other.low > SETTLED for other in others):
        return Claim(text, test, "does not hold", numbers)
    # With one seed, the bounds are NaN and the claim cannot be told.
    as_claimed = sgd.low > SETTLED and all(other.high < SETTLED for other in others)
    return Claim(text, test, "holds" if as_claimed else "cannot be told", numbers)


def adam_diverges(grid: Grid) -> Claim:
    """Claim 5."""
    text = "Adam at lr 0.05 diverges."
    test = (
        f"A run is lost if it diverged or its test accuracy ended at chance (up to {chance(10):.0%}). Holds if the "
        "exact 95 % interval of the share of lost runs lies above one half, does not hold if it lies below."
    )
    cells = {batch: cell for batch in BATCHES if (cell := ended(grid, "adam", batch, HIGH))}
    if len(cells) < len(BATCHES):
        return Claim(text, test, "cannot be told", needs("+study=assignment"))
    lost = {batch: int((cell.finished.test_accuracy <= chance(10)).sum()) for batch, cell in cells.items()}
    counts = {b: f"{c.diverged} of {len(c.runs)} diverged, {lost[b]} at chance" for b, c in cells.items()}
    low, high = share_interval(
        sum(cell.diverged + lost[batch] for batch, cell in cells.items()),
        sum(len(cell.runs) for cell in cells.values()),
    )
    numbers = listed({f"batch {batch}": count for batch, count in counts.items()})
    return Claim(text, test, "holds" if low > 0.5 else "does not hold" if high < 0.5 else "cannot be told", numbers)


def adam_is_robust(grid: Grid) -> Claim:
    """Claim 6."""
    text = "Adam is the most robust of the three optimizers, and 0.005 the best learning rate for nearly all of them."
    test = (
        "Robust: the mean test accuracy over the assignment's lrs and batch sizes, a diverged run counted as "
        f"guessing, is higher than the others' (sign flips, Holm). Best: 0.005 has the highest mean "
        f"{grid.chosen_on} accuracy in most rows."
    )
    scores = {optimizer: robustness(grid, optimizer) for optimizer in OPTIMIZERS}
    cells = {optimizer: [cell for cell in assigned(grid, optimizer) if cell] for optimizer in OPTIMIZERS}
    found = {
        with_divergence(f"adam less {other}", *cells["adam"], *cells[other]): over_shared(scores["adam"], scores[other])
        for other in ("sgd", "adagrad")
    }
    best = [cell.key[2] for key in product(OPTIMIZERS, BATCHES) if (cell := grid.best(*key))]
    numbers = f"Mean: {differences(found)}. {best_lrs(grid, BATCHES)}"
    robust = direction(found)
    if not all(ended(grid, *key, MIDDLE) for key in product(OPTIMIZERS, BATCHES)):
        verdict: Verdict = "does not hold" if robust == "does not hold" else "cannot be told"
        return Claim(text, test, verdict, f"{numbers}. lr 0.005 {needs('+study=claims')}")
    mostly = best.count(MIDDLE) > len(best) / 2
    return Claim(text, test, robust if mostly else "does not hold", numbers)


def growing_batch(grid: Grid) -> Claim:
    """Claim 7."""
    text = "Growing the batch instead of decaying the lr is equivalent, and needs fewer updates."
    test = (
        f"Holds if the 95 % interval of the difference in test accuracy over shared seeds lies within {100 * MARGIN:g} "
        "points of 0, and there are fewer updates; does not hold if it lies outside, or there are not."
    )
    batch, lr = 64, HIGH
    step, grown = (ended(grid, f"sgd {schedule}", batch, lr) for schedule in ("step", "grow_batch"))
    if not (step and grown):
        return Claim(text, test, "cannot be told", needs("+study=batch_growth"))
    difference = over_shared(grown.values("test_accuracy"), step.values("test_accuracy")).difference
    outside = difference.low > MARGIN or difference.high < -MARGIN
    numbers = with_divergence(f"grow_batch less step: {percent(difference)} points", grown, step)
    numbers += f" (n={difference.n})"
    if not (len(step.finished) and len(grown.finished)):  # a diverged run stops early, after fewer updates
        return Claim(text, test, "does not hold" if outside else "cannot be told", numbers)
    updates = [int(cell.finished.updates.iloc[0]) for cell in (grown, step)]
    numbers += f"; {updates[0]:,} updates and {updates[1]:,}"
    if updates[0] >= updates[1] or outside:
        return Claim(text, test, "does not hold", numbers)
    within = difference.low > -MARGIN and difference.high < MARGIN
    return Claim(text, test, "holds" if within else "cannot be told", numbers)
