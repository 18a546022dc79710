"""Intervals and tests, computed by scipy and statsmodels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

LEVEL = 0.95
ALPHA = 1 - LEVEL
EXACT = 2**14  # the sign-flip test tries all flips up to this number, and else draws this number


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over `n` runs; NaN if n is 0."""

    value: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean and its Student's t interval; for fewer than two values, the bounds are NaN."""
    n, mean = len(values), float(np.mean(values)) if len(values) else math.nan
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    error = float(stats.sem(values))
    low, high = stats.t.interval(LEVEL, n - 1, mean, error) if error else (mean, mean)
    return Estimate(mean, float(low), float(high), n)


def binomial_interval(accuracy: float, images: int) -> Estimate:
    """Return Wilson's interval of one run's accuracy on `images` test images; it says nothing about other seeds."""
    low, high = stats.binomtest(round(accuracy * images), images).proportion_ci(LEVEL, "wilson")
    return Estimate(accuracy, float(low), float(high), 1)


def share_interval(some: int, of: int) -> tuple[float, float]:
    """Return the exact 95 % interval of the share `some` / `of` (Clopper & Pearson 1934)."""
    low, high = stats.binomtest(some, of).proportion_ci(LEVEL, "exact")
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """The mean difference of paired values, its p-value, and its effect size."""

    difference: Estimate
    p: float  # NaN if no test is possible
    effect: float  # Cohen's d of the differences: mean / standard deviation
    test: str

    @property
    def least_p(self) -> float:
        """The smallest p-value possible for this number of pairs."""
        return 2.0 ** (1 - self.difference.n) if self.test == SIGN_FLIP else 0.0


SIGN_FLIP, DRAWN, MCNEMAR = "exact sign-flip test", "sign-flip test of drawn flips", "McNemar's exact test"


def compare(ones: Sequence[float], others: Sequence[float]) -> Comparison:
    """Compare paired values by a sign-flip test: if the settings are equal, each difference can have either sign."""
    differences = np.subtract(ones, others)
    difference = mean_interval(differences.tolist())
    if difference.n < 2:
        return Comparison(difference, math.nan, math.nan, "none")
    spread = float(np.std(differences, ddof=1))
    effect = difference.value / spread if spread else math.copysign(math.inf, difference.value) * bool(difference.value)
    if not differences.any():
        return Comparison(difference, 1.0, 0.0, SIGN_FLIP)
    found = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=EXACT, vectorized=True, rng=0
    )
    return Comparison(difference, float(found.pvalue), effect, SIGN_FLIP if 2**difference.n <= EXACT else DRAWN)


def compare_predictions(one: NDArray[Any], other: NDArray[Any]) -> Comparison:
    """Compare two runs' predictions on the same test images by McNemar's exact test.

    Each array is (2, N): predictions and labels.
    """
    right, other_right = one[0] == one[1], other[0] == other[1]
    table = [
        [int((right & other_right).sum()), only := int((right & ~other_right).sum())],
        [only_other := int((~right & other_right).sum()), int((~right & ~other_right).sum())],
    ]
    n, value = one.shape[1], (only - only_other) / one.shape[1]
    error = stats.norm.ppf((1 + LEVEL) / 2) * math.sqrt(only + only_other - n * value**2) / n
    return Comparison(
        Estimate(value, value - error, value + error, 1), float(mcnemar(table, exact=True).pvalue), math.nan, MCNEMAR
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple tests (Holm 1979); NaN stays NaN and is not counted."""
    adjusted = np.full(len(ps), math.nan)
    tested = ~np.isnan(ps)
    if tested.any():
        adjusted[tested] = multipletests(np.asarray(ps)[tested], method="holm")[1]
    return [float(p) for p in adjusted]


def seeds_needed(tests: int) -> int:
    """Return the number of shared seeds with which a sign-flip test can be significant among `tests` tests."""
    return math.ceil(1 + math.log2(tests / ALPHA))


def one_more(values: Sequence[float], images: int) -> float:
    """Return half the 95 % prediction interval of one more run around the mean of these.

    It is at least the difference that the finite test set explains between two runs, since few seeds may agree by
    chance.
    """
    n, mean = len(values), float(np.mean(values))
    by_images = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(2 * mean * (1 - mean) / images)
    if n < 2:
        return by_images
    return max(by_images, float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n)))


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Format a number with its noun or verb, `1 run` or `2 hold`; the plural is `nouns`, or else `noun` with an s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def percent(estimate: Estimate) -> str:
    """Format a share in percent, with as many decimals as its interval justifies: `98.9 ± 1.2`, `99.07 ± 0.05`."""
    if math.isnan(estimate.value):
        return "not finite"
    half = 100 * estimate.half
    decimals = min(2, max(0, 1 - math.floor(math.log10(half)))) if half > 0 else 2
    number = f"{100 * estimate.value:.{decimals}f}"
    return number if math.isnan(half) else f"{number} ± {half:.{decimals}f}"
