"""The critical learning rate: how long an optimizer's step can be before the loss stops falling."""

import math
from collections.abc import Callable
from functools import cache

from scipy.optimize import brentq

LARGEST, SMALLEST = 1e9, 1e-3  # factors that are tried
RELATIVE, ABSOLUTE = 1e-6, 1e-7  # changes of the loss up to here are rounding errors of float32
FIRST, THEN = 1.5, 4.0  # factors by which the bracket grows: the first step, later steps
PRECISION = 1e-3  # of the factor


def critical_factor(loss: Callable[[float], float], guess: float = 1.0) -> float:
    """Return the factor s > 0 from which on L(s) >= L(0), where L(s) is the loss after s times the optimizer's step.

    If there are several, it is the one that the search from `guess` meets. It is infinite if the loss never rises, and
    0 if it rises at once. The critical learning rate is s times the current one, and 2 / (critical learning rate) the
    critical sharpness (Kalra et al. 2026, arXiv 2601.16979). Where the loss is a quadratic, (L(s) - L(0)) / s is a
    line, so few evaluations are needed: about six with a good `guess`.
    """
    at_start = loss(0.0)
    if not math.isfinite(at_start):
        return math.nan

    unresolved = max(RELATIVE * abs(at_start), ABSOLUTE)

    @cache
    def slope(factor: float) -> float:
        change = loss(factor) - at_start
        if not math.isfinite(change):
            change = abs(at_start) + 1
        elif abs(change) <= unresolved:
            change = -unresolved
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
