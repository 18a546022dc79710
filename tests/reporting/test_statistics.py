import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from src.reporting.statistics import (
    Estimate,
    binomial_interval,
    compare,
    compare_predictions,
    holm,
    mean_interval,
    one_more,
    percent,
    seeds_needed,
)

NAN = math.nan


def test_the_interval_of_a_mean_is_students() -> None:
    """1, 2 and 3 have mean 2 and standard deviation 1; t(0.975; 2) = 4.3027 is in every table."""
    estimate = mean_interval([1.0, 2.0, 3.0])
    assert (estimate.value, estimate.n) == (2.0, 3)
    assert estimate.half == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)
    assert mean_interval([0.5, 0.5]) == Estimate(0.5, 0.5, 0.5, 2)
    assert math.isnan(mean_interval([0.5]).half)


def test_the_interval_of_one_accuracy_is_wilsons() -> None:
    """Wilson's formula for 9,900 correct of 10,000."""
    z, n, p = 1.959964, 10_000, 0.99
    centre = (p + z**2 / 2 / n) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
    estimate = binomial_interval(0.99, 10_000)
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half), rel=1e-6)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=8))
def test_the_sign_flip_test_counts_all_flips(differences: list[int]) -> None:
    means = [
        abs(np.mean(np.multiply(differences, signs))) for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = float(np.mean([mean >= abs(np.mean(differences)) - 1e-9 for mean in means]))
    comparison = compare([float(d) for d in differences], [0.0] * len(differences))
    assert comparison.p == pytest.approx(expected)
    assert comparison.difference.value == pytest.approx(np.mean(differences))


@pytest.mark.parametrize(("n", "least"), [(5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_the_least_p_and_effect_size_by_seeds(n: int, least: float) -> None:
    comparison = compare([0.9 + i / 100 for i in range(n)], [0.8] * n)
    assert comparison.p == comparison.least_p == least
    spread = float(np.std([0.1 + i / 100 for i in range(n)], ddof=1))
    assert comparison.effect == pytest.approx((0.1 + (n - 1) / 200) / spread)


def test_one_pair_has_no_test_and_equal_pairs_no_difference() -> None:
    assert math.isnan(compare([0.9], [0.8]).p)
    assert compare([0.9, 0.8], [0.9, 0.8]).p == 1.0


def test_mcnemar_is_the_binomial_test_of_what_they_disagree_on() -> None:
    labels = np.zeros(100, np.uint8)
    one, other = labels.copy(), labels.copy()
    one[:3], other[10:25] = 1, 1  # correct only in other: 3 images; only in one: 15
    comparison = compare_predictions(np.stack([one, labels]), np.stack([other, labels]))
    assert comparison.p == pytest.approx(stats.binomtest(3, 18).pvalue)
    assert comparison.difference.value == pytest.approx(0.12)


def test_holm_by_hand() -> None:
    """0.01 x 3; the larger of that and 0.03 x 2; the larger of that and 0.04 x 1. NaN is not counted."""
    assert holm([0.01, NAN, 0.04, 0.03]) == pytest.approx([0.03, NAN, 0.06, 0.06], nan_ok=True)
    assert math.isnan(holm([NAN])[0])


def test_seeds_needed_is_the_smallest_number_significant_after_holm() -> None:
    assert [seeds_needed(tests) for tests in (1, 2, 15)] == [6, 7, 10]
    for tests in (1, 2, 3, 15, 28):
        assert 2.0 ** (1 - seeds_needed(tests)) * tests <= 0.05 < 2.0 ** (2 - seeds_needed(tests)) * tests


def test_one_more_run_by_prediction_interval_or_test_set_size() -> None:
    values = [0.90, 0.92, 0.94]
    assert one_more(values, 10_000) == pytest.approx(4.30265 * 0.02 * math.sqrt(4 / 3), rel=1e-5)
    assert one_more([0.9] * 5, 10_000) == pytest.approx(1.959964 * math.sqrt(2 * 0.09 / 10_000), rel=1e-6)
    assert one_more([0.9], 10_000) == one_more([0.9] * 5, 10_000)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.99073, 0.99023, 0.99123, 5), "99.07 ± 0.05"),
        (Estimate(0.955, 0.943, 0.967, 5), "95.5 ± 1.2"),
        (Estimate(0.62, 0.50, 0.74, 5), "62 ± 12"),
        (Estimate(0.99, NAN, NAN, 1), "99.00"),
        (Estimate(0.99, 0.99, 0.99, 2), "99.00 ± 0.00"),
        (Estimate(NAN, NAN, NAN, 1), "not finite"),
    ],
)
def test_decimals_follow_from_the_interval(estimate: Estimate, text: str) -> None:
    assert percent(estimate) == text
