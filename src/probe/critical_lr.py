"""How much larger an optimizer's step could have been before it stopped to lower the loss."""

import math
from collections.abc import Callable
from functools import cache

from scipy.optimize import brentq

LARGEST, SMALLEST = 1e9, 1e-3  # factors that are tried
RESOLVED = 1e-6  # of the loss: smaller changes are rounding errors of float32
FIRST, THEN = 1.5, 4.0  # by how much the search widens: the last factor is a good guess, or none
PRECISION = 5e-3  # of the factor


def critical_factor(loss: Callable[[float], float], guess: float = 1.0) -> float:
    """Return the least factor s > 0 with L(s) >= L(0), where L(s) is the loss after s times the optimizer's step.

    It is infinite if the loss never rises, and 0 if it rises at once. The critical learning rate is s times the current
    one, and 2 / (critical learning rate) the critical sharpness (Kalra et al. 2026, arXiv 2601.16979). Where the loss
    is a quadratic, (L(s) - L(0)) / s is a line, so few evaluations are needed: about six with a good `guess`.
    """
    at_start = loss(0.0)
    if not math.isfinite(at_start):
        return math.nan

    @cache
    def slope(factor: float) -> float:
        change = loss(factor) - at_start
        if abs(change) < RESOLVED * abs(at_start):
            change = -RESOLVED * abs(at_start)
        elif not math.isfinite(change):
            change = abs(at_start) + 1
        return change / factor

    low = high = min(max(guess, SMALLEST), LARGEST)
    by = FIRST
    if slope(low) < 0:
        while slope(high := low * by) < 0:
            low, by = high, THEN
            if low > LARGEST:
                return math.inf
    else:
        while slope(low := high / by) >= 0:
            high, by = low, THEN
            if high < SMALLEST:
                return 0.0
    return float(brentq(slope, low, high, rtol=PRECISION))
