"""Intervals and tests; scipy and statsmodels do the mathematics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

LEVEL = 0.95
ALPHA = 1 - LEVEL
EXACT = 2**14  # sign flips that are all tried; of more, so many are drawn


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, over `n` runs; NaN of none."""

    value: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float]) -> Estimate:
    """By Student's t over two values or more; NaN bounds for one."""
    n, mean = len(values), float(np.mean(values)) if len(values) else math.nan
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    error = float(stats.sem(values))
    low, high = stats.t.interval(LEVEL, n - 1, mean, error) if error else (mean, mean)
    return Estimate(mean, float(low), float(high), n)


def binomial_interval(accuracy: float, images: int) -> Estimate:
    """Of one run's accuracy on that many test images: Wilson's, which says nothing of other seeds."""
    low, high = stats.binomtest(round(accuracy * images), images).proportion_ci(LEVEL, "wilson")
    return Estimate(accuracy, float(low), float(high), 1)


def share_interval(some: int, of: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper & Pearson 1934)."""
    low, high = stats.binomtest(some, of).proportion_ci(LEVEL, "exact")
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """Of paired values: the mean difference, its p-value, and its effect size."""

    difference: Estimate
    p: float  # NaN where no test can be had
    effect: float  # Cohen's d of the differences: their mean over their standard deviation
    test: str

    @property
    def least_p(self) -> float:
        """The smallest p-value that so many pairs can give."""
        return 2.0 ** (1 - self.difference.n) if self.test == SIGN_FLIP else 0.0


SIGN_FLIP, DRAWN, MCNEMAR = "exact sign-flip test", "sign-flip test of drawn flips", "McNemar's exact test"


def compare(ones: Sequence[float], others: Sequence[float]) -> Comparison:
    """Two settings over shared seeds. If they were alike, each difference could as well have the other sign."""
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


def compare_predictions(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Comparison:
    """Two runs on the same test images: which are right in one and wrong in the other, by McNemar's exact test.

    Each (2, N): predictions and labels.
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
    """P-values adjusted for their number (Holm 1979); NaN stays NaN, and does not count."""
    adjusted = np.full(len(ps), math.nan)
    tested = ~np.isnan(ps)
    if tested.any():
        adjusted[tested] = multipletests(np.asarray(ps)[tested], method="holm")[1]
    return [float(p) for p in adjusted]


def seeds_needed(tests: int) -> int:
    """Shared seeds that it takes for the sign-flip test to reach significance among so many tests."""
    return math.ceil(1 + math.log2(tests / ALPHA))


def one_more(values: Sequence[float], images: int) -> float:
    """How far one further run may lie from the mean of these, at 95 %: half a prediction interval.

    At least what the test images alone explain between two runs, since few seeds may agree by chance.
    """
    n, mean = len(values), float(np.mean(values))
    by_images = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(2 * mean * (1 - mean) / images)
    if n < 2:
        return by_images
    return max(by_images, float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n)))


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun or verb, whose plural has an s unless it is given: `1 run`, `0 runs`, `2 hold`."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def percent(estimate: Estimate) -> str:
    """A share in percent, as many decimals as its interval leaves sense in: `98.9 ± 1.2`, `99.07 ± 0.05`."""
    if math.isnan(estimate.value):
        return "not finite"
    half = 100 * estimate.half
    decimals = min(2, max(0, 1 - math.floor(math.log10(half)))) if half > 0 else 2
    number = f"{100 * estimate.value:.{decimals}f}"
    return number if math.isnan(half) else f"{number} ± {half:.{decimals}f}"
