"""The gradient noise scale against brute force over the images' own gradients."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from src.models import MLP, LeNet
from src.probe.noise_scale import moments, noise_scale
from tests.helpers.images import bars


def gradients(network: nn.Module, images: Tensor, labels: Tensor, size: int) -> list[Tensor]:
    return [
        parameters_to_vector(torch.autograd.grad(cross_entropy(network(some), of), list(network.parameters())))
        for some, of in zip(images.split(size), labels.split(size), strict=True)
    ]


def batch() -> tuple[Tensor, Tensor]:
    images, labels = bars(24, 3)  # of few classes, or the signal would be lost in the noise
    return torch.from_numpy(images)[:, None].double() / 255, torch.from_numpy(labels).long() // 8


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("network", [LeNet, lambda: MLP([8, 8])], ids=["LeNet", "MLP"])
def test_moments_of_single_images_are_those_of_the_sample(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = network()
    images, labels = batch()
    single = gradients(model, images, labels, 1)
    rows = torch.stack(single).numpy()
    trace = rows.var(0, ddof=1).sum()  # of the covariance matrix
    squared = (rows.mean(0) ** 2).sum() - trace / len(rows)
    found = moments(single, 1)
    assert found.noise == pytest.approx(trace, rel=1e-10)
    assert found.squared == pytest.approx(squared, rel=1e-8)
    assert noise_scale(found.noise, found.squared) == pytest.approx(trace / squared, rel=1e-8)


@pytest.mark.usefixtures("double")
def test_chunks_of_any_size_estimate_the_same() -> None:
    """Averaged over all ways to cut six images into three pairs or two triples, the estimate is that of six ones."""
    torch.manual_seed(0)
    model = MLP([4])
    images, labels = batch()
    own = gradients(model, images[:6], labels[:6], 1)
    exact = moments(own, 1)

    def mean(chunk: tuple[int, ...]) -> Tensor:
        return torch.stack([own[i] for i in chunk]).mean(0)

    everything = set(range(6))
    pairs = [
        (one, two, tuple(everything - {*one, *two}))
        for one in combinations(range(6), 2)
        for two in combinations(sorted(everything - {*one}), 2)
    ]
    triples = [(one, tuple(everything - {*one})) for one in combinations(range(6), 3)]
    for cuts in (pairs, triples):
        estimates = [moments([mean(chunk) for chunk in cut], len(cut[0])) for cut in cuts]
        assert np.mean([each.noise for each in estimates]) == pytest.approx(exact.noise, rel=1e-10)
        assert np.mean([each.squared for each in estimates]) == pytest.approx(exact.squared, rel=1e-8)


def test_a_lost_signal_is_an_infinite_scale() -> None:
    assert noise_scale(1.0, -0.1) == math.inf
    assert noise_scale(1.0, 0.0) == math.inf
    assert math.isnan(noise_scale(math.nan, 1.0))
