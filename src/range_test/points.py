"""Points of a learning rate range test: where the loss begins to fall, falls steepest and begins to diverge."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Numbers = NDArray[np.float64]

WIDTH = 0.015  # standard deviation of the smoothing Gaussian, as a share of the planned steps
START = 0.05  # share of the planned steps whose mean is the loss from which it falls
BEGUN = 0.05  # share of its whole fall that the loss has lost where it begins to fall
REGAINED = 0.5  # share of its whole fall that the loss regains if it diverges
LEAST_FALL = 0.01  # in nats of the logarithm of the loss
BEYOND_NOISE = 6.0  # standard errors; the least of a test's 20 to 30 independent values is 2 to 3 below their mean
WITHIN_NOISE = 2.0  # standard errors


@dataclass(frozen=True)
class Points:
    """Learning rates of a range test, each None if the test does not show it, and what was seen instead, in words.

    The smoothed loss is the geometric mean of the losses with Gaussian weights: symmetric, hence without lag.

    begins: from here to its minimum, the smoothed loss has lost at least 5 % of its whole fall.
    steepest: the smoothed loss falls most per factor of the lr, between `begins` and `diverges`.
    valley: fastai's suggestion for the smoothed loss between `begins` and `diverges`. Before `begins`, it would count
        noise as a valley.
    diverges: the rise that ends in divergence begins after this lr: the last one at which the smoothed loss equals its
        minimum within two standard errors, or without noise the lr of the least loss. The loss diverges if it is not
        finite, ends the test early, or regains half of its fall. If it never fell: the last lr with a finite loss.
    """

    begins: float | None = None
    steepest: float | None = None
    valley: float | None = None
    diverges: float | None = None
    seen: str = ""


def points(lrs: Numbers, losses: Numbers) -> Points:
    """Return the points of a test that planned `lrs`, and whose loss at `lrs[i]` was `losses[i]` until it ended."""
    steps, smooth = len(lrs), smoothed(losses, len(lrs))
    n = len(smooth)
    if n == 0:
        return Points(seen="not finite at the first step")
    least = int(np.argmin(smooth))
    start = float(np.exp(_log(losses[: min(n, 1 + int(START * steps))]).mean()))
    at_start = _standard_error(losses[: min(n, max(least + 1, 10))], steps)
    if np.log(start / smooth[least]) < max(LEAST_FALL, BEYOND_NOISE * at_start):
        seen = f"loss does not fall up to lr {lrs[n - 1]:.2g}"
        if n == steps:
            return Points(seen=seen)
        how = "is not finite after it" if n < len(losses) else "diverges there"
        return Points(diverges=float(lrs[n - 1]), seen=f"{seen} and {how}")
    fall = start - smooth[least]
    begins = 1 + int(max(np.flatnonzero(smooth[: least + 1] > start - BEGUN * fall), default=-1))
    regained = np.flatnonzero(smooth[least:] > smooth[least] + REGAINED * fall)
    end = n
    diverges = None
    if len(regained) or n < steps:
        end = least + int(regained[0]) if len(regained) else n
        end = 1 + max(begins, _last_low(losses[:n], smooth[:end], least, steps))
        diverges = float(lrs[end - 1])
    slope = np.gradient(smooth, np.log(lrs[:n]))
    return Points(
        begins=float(lrs[begins]),
        steepest=float(lrs[begins + int(np.argmin(slope[begins:end]))]),
        valley=float(lrs[begins + max(0, valley(smooth[begins:end]))]),
        diverges=diverges,
        seen="" if diverges else f"falls up to lr {lrs[n - 1]:.2g} without diverging",
    )


def smoothed(losses: Numbers, steps: int) -> Numbers:
    """Return the smoothed losses of a test of so many planned steps, up to the first one that is not finite."""
    finite = losses[: int(np.argmin(np.isfinite([*losses, np.nan])))]
    return np.exp(gaussian_filter1d(_log(finite), WIDTH * steps, mode="reflect")) if len(finite) else finite


def valley(losses: Numbers) -> int:
    """Return the position of fastai's `valley` (fastai/callback/schedule.py).

    It is the middle of the longest decreasing subsequence, if that were contiguous and began one position earlier: -1
    for two losses that fall.
    """
    ends: list[float] = []  # the least negated last loss of a decreasing subsequence of each length
    lengths = np.zeros(len(losses), dtype=int)  # of the longest one that ends at each loss
    for i, negated in enumerate((-losses).tolist()):
        place = bisect_left(ends, negated)
        ends[place : place + 1] = [negated]
        lengths[i] = place + 1
    end = int(np.argmax(lengths))
    start = end - int(lengths[end]) if end else 0
    third = (end - start) / 3
    return start + int(third) + int(third / 2)


def _log(losses: Numbers) -> Numbers:
    return np.log(np.maximum(losses, np.finfo(float).tiny))


def _standard_error(losses: Numbers, steps: int) -> float:
    """Return the standard error of the logarithm of a smoothed loss among these, from the differences of neighbours.

    Differences know no trend, and their median no outliers.
    """
    if len(losses) < 2:
        return 0.0
    deviation = 1.4826 * float(np.median(np.abs(np.diff(_log(losses))))) / np.sqrt(2)
    return deviation / float(np.sqrt(max(1.0, 2 * np.sqrt(np.pi) * WIDTH * steps)))  # of so many independent losses


def _last_low(losses: Numbers, smooth: Numbers, least: int, steps: int) -> int:
    """Return the last position at which the loss is at its minimum within its noise; `smooth` ends where it has risen.

    If the losses around the minimum fall, turn once and rise, they have no noise, and their own minimum is exact.
    """
    reach = 2 + int(3 * WIDTH * steps)
    near = losses[max(0, least - reach) : least + reach + 1]
    turn = int(np.argmin(near))
    if (np.diff(near[: turn + 1]) < 0).all() and (np.diff(near[turn:]) > 0).all():
        return max(0, least - reach) + turn
    noise = _standard_error(losses[max(0, least - 2 * reach) : least + 1], steps)
    return int(np.flatnonzero(np.log(smooth / smooth[least]) <= WITHIN_NOISE * noise)[-1])
