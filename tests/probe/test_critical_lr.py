"""The critical learning rate on losses whose critical factor is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from src.probe.critical_lr import LARGEST, SMALLEST, critical_factor


def counted(loss: Callable[[float], float]) -> tuple[Callable[[float], float], list[float]]:
    asked: list[float] = []

    def evaluated(factor: float) -> float:
        asked.append(factor)
        return loss(factor)

    return evaluated, asked


@given(seed=st.integers(0, 10**6), lr=st.floats(1e-4, 1e2))
@example(seed=143, lr=12.8203125)
def test_along_the_gradient_of_a_quadratic(seed: int, lr: float) -> None:
    """It is 2 g'g / g'Hg, for any Hessian and any learning rate of the step."""
    draw = np.random.default_rng(seed)
    half = draw.normal(size=(5, 5))
    hessian, start = half @ half.T + 0.1 * np.eye(5), draw.normal(size=5)
    g = hessian @ start

    def loss(factor: float) -> float:
        at = start - factor * lr * g
        return float(at @ hessian @ at) / 2

    critical = 2 * (g @ g) / (g @ hessian @ g)
    assume(SMALLEST < critical / lr < LARGEST)  # the factors that are tried
    assert lr * critical_factor(loss) == pytest.approx(critical, rel=1e-3)


@pytest.mark.parametrize("wrong_by", [1.0, 1.3, 0.7])
def test_few_evaluations_with_a_good_guess(wrong_by: float) -> None:
    loss, asked = counted(lambda s: math.cosh(s / 30 - 1) + 0.02 * (s / 30) ** 3)  # not a quadratic
    exact = critical_factor(loss)
    asked.clear()
    assert critical_factor(loss, exact * wrong_by) == pytest.approx(exact, rel=1e-2)
    assert len(asked) <= 6
    assert loss(0.98 * exact) < loss(0.0) < loss(1.02 * exact)


def test_a_step_too_small_to_change_the_loss_in_float32() -> None:
    """Rounding errors at the first factor are not taken for a rise."""
    draw = np.random.default_rng(0)

    def loss(factor: float) -> float:
        change = -1e-8 * factor + 1e-14 * factor**2  # rises from a factor of 10^6 on
        return float(np.float32(2.3 + change + draw.normal(scale=1e-7)))

    assert critical_factor(loss) == pytest.approx(1e6, rel=0.05)


def test_extremes() -> None:
    assert critical_factor(lambda s: math.exp(-s / 1e6)) == math.inf  # falls for ever
    assert critical_factor(lambda s: 1.0) == math.inf  # no gradient
    assert critical_factor(lambda s: 1 + s) == 0.0  # rises at once
    assert critical_factor(lambda s: 0.0) == math.inf  # nothing is left to learn
    assert critical_factor(lambda s: math.nan if s else 1.0) == 0.0  # an infinite step
    assert math.isnan(critical_factor(lambda s: math.nan))
    beyond = critical_factor(lambda s: 1 - s if s < 3 else math.inf)  # overflows while it still falls
    assert beyond == pytest.approx(3, rel=0.02)
    beyond = critical_factor(lambda s: 1 - s / 5 if s < 3 else math.nan)
    assert beyond == pytest.approx(3, rel=0.02)


def test_torch_networks_loss_in_float32() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 5), torch.randn(64)
    weight = torch.randn(5)
    hessian = x.T @ x / 64
    gradient = hessian @ weight - x.T @ y / 64
    lr = 1e-3

    def loss(factor: float) -> float:
        return float((x @ (weight - factor * lr * gradient) - y).square().double().mean() / 2)

    exact = 2 * (gradient @ gradient) / (gradient @ hessian @ gradient)
    assert lr * critical_factor(loss) == pytest.approx(float(exact), rel=1e-3)


def test_small_losses_have_rounding_errors_of_float32() -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed)

        def loss(factor: float, draw: np.random.Generator = draw) -> float:
            return 1e-3 - 1e-9 * factor + 1e-13 * factor**2 + draw.normal(scale=1e-8)  # 10^4

        assert critical_factor(loss) == pytest.approx(1e4, rel=0.1)
