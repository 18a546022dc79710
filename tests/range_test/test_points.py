"""The points of a range test, compared with losses whose points are known."""

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.range_test.points import Numbers, Points, points, valley

LRS = np.geomspace(1e-7, 10, 938)


def of_quadratic(curvature: float, lrs: Numbers) -> Numbers:
    """Return the losses of gradient descent on curvature w^2 / 2 from w = 1, until three in a row exceed 4 x the first.

    A step multiplies w by 1 - lr x curvature, so that the loss rises from 2 / curvature on.
    """
    weight, losses = 1.0, [curvature / 2]
    for lr in lrs[:-1].tolist():
        weight *= 1 - lr * curvature
        losses.append(curvature * weight**2 / 2)
        if min(losses[-3:]) > 4 * losses[0]:
            break
    return np.array(losses)


@given(st.floats(np.log(3), np.log(1e4)), st.integers(60, 1000))
@settings(max_examples=100, deadline=None)
def test_a_quadratic_diverges_from_two_over_its_curvature_on(logarithm: float, steps: int) -> None:
    curvature, lrs = float(np.exp(logarithm)), np.geomspace(1e-7, 10, steps)
    found = points(lrs, of_quadratic(curvature, lrs))
    assert found.diverges is not None
    assert found.begins is not None
    assert found.steepest is not None
    assert abs(np.log(found.diverges * curvature / 2)) <= 1.001 * np.log(lrs[1] / lrs[0])
    assert found.seen == ""
    assert found.begins <= found.steepest < found.diverges


def noisy(curve: Numbers, share: float, seed: int) -> Numbers:
    return curve * np.exp(np.random.default_rng(seed).normal(0, share, len(curve)))


def basin(falls: float, rises: float) -> Numbers:
    """Return losses that fall from 2.3 to 0.3 around one lr and rise to it again around another."""
    fall, rise = (1 / (1 + np.exp(-4 * np.log(LRS / lr))) for lr in (falls, rises))
    return 2.3 - 2 * fall + 2 * rise


@pytest.mark.parametrize("seed", range(20))
def test_points_are_found_in_noise(seed: int) -> None:
    """The fall begins at 4.8e-4, is steepest at 1e-3 and ends at 3e-3; the rise begins at 0.03, its middle is 0.1."""
    found = points(LRS, noisy(basin(1e-3, 0.1), 0.2, seed))
    assert None not in (found.begins, found.steepest, found.valley, found.diverges)
    assert 2e-4 < (found.begins or 0) < 9e-4
    assert 6e-4 < (found.steepest or 0) < 1.6e-3
    assert (found.begins or 0) < (found.valley or 0) < 0.01
    assert 3e-3 < (found.diverges or 0) < 0.08


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.2])
def test_a_loss_that_never_falls_beyond_its_noise_has_no_points(noise: float) -> None:
    for seed in range(20):
        found = points(LRS, noisy(np.full(938, 2.3), noise, seed))
        assert found == Points(seen="loss does not fall up to lr 10"), seed


def test_a_loss_that_falls_to_the_end_does_not_diverge() -> None:
    found = points(LRS, noisy(basin(1e-3, 1e9), 0.05, 0))
    assert found.seen == "falls up to lr 10 without diverging"
    assert found.diverges is None
    assert 5e-4 < (found.steepest or 0) < 2e-3


def test_divergence_is_a_loss_that_is_not_finite_or_a_test_that_ended_early() -> None:
    fall = basin(1e-3, 1e9)
    for losses in (np.append(fall[:700], np.nan), np.append(fall[:700], np.inf), fall[:700]):
        found = points(LRS, losses)
        assert found.diverges == pytest.approx(LRS[699])
        assert found.seen == ""
    assert points(LRS, np.full(700, 2.3)).seen == f"loss does not fall up to lr {LRS[699]:.2g} and diverges there"
    assert points(LRS, np.array([np.nan])) == Points(seen="not finite at the first step")
    assert points(LRS, np.array([2.3, np.nan])).diverges == LRS[0]


@given(
    st.integers(2, 60),
    st.lists(
        st.floats(1e-6, 1e6) | st.sampled_from([2.3, 2.3, 1.0, float("nan"), float("inf")]), min_size=1, max_size=60
    ),
)
@settings(max_examples=100, deadline=None)
def test_points_of_any_losses_are_in_order(steps: int, losses: list[float]) -> None:
    lrs = np.geomspace(1e-4, 1, max(steps, len(losses)))
    found = points(lrs, np.array(losses))
    if found.begins is None:
        assert found.steepest is found.valley is None
        assert found.seen
    else:
        last = lrs[-1] if found.diverges is None else found.diverges
        assert found.begins <= (found.steepest or 0) <= last
        assert found.begins <= (found.valley or 0) <= last
        assert bool(found.seen) == (found.diverges is None)


def by_patience(losses: list[float]) -> int:
    """Return the position of the valley: lengths of subsequences by patience sorting, positions by fastai's rule."""
    tails: list[float] = []  # of the decreasing subsequences, negated
    lengths = []
    for loss in losses:
        place = bisect_left(tails, -loss)
        tails[place:] = [-loss, *tails[place + 1 :]]
        lengths.append(place + 1)
    end = lengths.index(max(lengths))
    start = end - lengths[end] if end else 0
    return start + (end - start) // 3 + int((end - start) / 6)


@given(st.lists(st.floats(0, 10) | st.integers(0, 5).map(float), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_valley_is_the_middle_of_the_longest_decreasing_subsequence(losses: list[float]) -> None:
    assert valley(np.array(losses)) == by_patience(losses)
