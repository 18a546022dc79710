"""The sharpness against the full Hessian, and the stability limits against the optimizers themselves."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from src.models import MLP
from src.native.build import without_native_code
from src.probe.sharpness import scaling, sharpness, stability_limit


def small() -> tuple[MLP, Tensor, Tensor]:
    torch.manual_seed(0)
    return MLP([6], image_shape=(1, 4, 4), classes=3), torch.randn(40, 1, 4, 4), torch.arange(40) % 3


def full(network: MLP, images: Tensor, labels: Tensor) -> Tensor:
    """Return the Hessian (P, P)."""
    named = dict(network.named_parameters())
    sizes = [each.numel() for each in named.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = [part.view_as(each) for part, each in zip(flat.split(sizes), named.values(), strict=True)]
        return cross_entropy(functional_call(network, dict(zip(named, parts, strict=True)), (images,)), labels)

    return hessian(loss, torch.cat([each.detach().flatten() for each in named.values()]))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop"])
def test_largest_eigenvalue(optimizer: str) -> None:
    network, images, labels = small()
    parameters = list(network.parameters())
    steps = getattr(torch.optim, optimizer)(parameters, lr=0.01)
    for _ in range(3):
        steps.zero_grad()
        cross_entropy(network(images), labels).backward()
        steps.step()
    scale = scaling(steps, parameters)
    diagonal = torch.ones(sum(map(Tensor.numel, parameters)))
    if optimizer == "SGD":
        assert scale is None
    else:
        assert scale is not None
        diagonal = torch.cat([each.flatten() for each in scale])
    with without_native_code():
        largest = torch.linalg.eigvalsh(diagonal[:, None] * full(network, images, labels) * diagonal)[-1]
        found = sharpness(lambda: cross_entropy(network(images), labels), parameters, scale)
    assert found == pytest.approx(float(largest), rel=1e-3)


def test_most_negative_curvature_is_not_the_sharpness() -> None:
    at = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    found = sharpness(lambda: (torch.tensor([-50.0, 2.0, 1.0]) * at.square()).sum() / 2 + at[0] * at[1] * 0, [at])
    assert found == pytest.approx(2, rel=1e-3)


OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gradient descent": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("times", [0.97, 1.03])
def test_a_quadratic_is_stable_below_the_limit_only(name: str, times: float) -> None:
    kind, keywords = OPTIMIZERS[name]
    at = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, kind)([at], lr=0.1, **keywords)
    curvature = times * stability_limit(optimizer)
    for _ in range(2000):
        optimizer.zero_grad()
        (curvature * at.square() / 2).backward()
        optimizer.step()
    assert bool(at.abs() < 1e-3) == (times < 1)


@pytest.mark.parametrize("times", [0.9, 1.1])
def test_adam_with_a_frozen_second_moment_is_stable_below_its_limit_only(times: float) -> None:
    """38 / lr for a preconditioned curvature: Adam's step with v fixed, as when it changes slowly."""
    at = torch.tensor(1.0, requires_grad=True)
    lr = 0.1
    limit = stability_limit(torch.optim.Adam([at], lr=lr))
    assert limit == pytest.approx(38 / lr)
    curvature, weight, first = times * limit, 1.0, 0.0
    for _ in range(5000):
        first = 0.9 * first + 0.1 * curvature * weight
        weight = min(max(weight - lr * first, -1e6), 1e6)
    assert (abs(weight) < 1e-3) == (times < 1)


def test_limits_that_are_not_known() -> None:
    at = torch.tensor(1.0, requires_grad=True)
    assert math.isnan(stability_limit(torch.optim.NAdam([at], lr=0.1)))
    assert math.isnan(stability_limit(torch.optim.RMSprop([at], lr=0.1, momentum=0.9)))
    assert stability_limit(torch.optim.Adagrad([at], lr=0.1)) == pytest.approx(20)


def test_hessians_that_arpack_refuses() -> None:
    at = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert sharpness(lambda: (at * 0).square().sum(), [at]) == 0
    assert math.isnan(sharpness(lambda: (at * math.inf).square().sum(), [at]))
    one = torch.tensor([3.0], requires_grad=True)
    assert sharpness(lambda: one.pow(3).sum(), [one]) == pytest.approx(18)


def test_parameters_of_several_groups_and_without_gradients() -> None:
    one, two, unused = (torch.ones(2, requires_grad=True) for _ in range(3))
    groups: list[dict[str, Any]] = [{"params": [one], "betas": (0.9, 0.5), "eps": 0.5}, {"params": [two, unused]}]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    (2 * one.sum() + 3 * two.sum()).backward()
    optimizer.step()
    scale = scaling(optimizer, [one, two, unused])
    assert scale is not None
    expected = [(2 + 0.5) ** -0.5, (3 + 1e-8) ** -0.5, 1.0]  # the first step's means are the gradients, debiased
    for found, value in zip(scale, expected, strict=True):
        assert found.tolist() == pytest.approx([value] * 2)
    assert unused not in optimizer.state
