"""The native linear layers, compared with torch's in float64."""

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import relu

from src.models import MLP, LeNet
from src.native import linear
from src.native.build import backend
from src.native.linear import perceptron


@pytest.fixture(autouse=True)
def native() -> None:
    if not backend().startswith("native"):
        pytest.fail(f"the native code is unavailable: {backend()}")
    torch.set_num_threads(1)  # with more threads it uses torch's operators


def torchs(features: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    features = features.flatten(1)
    for layer in layers[:-1]:
        features = relu(layer(features))
    return layers[-1](features)


def linears(sizes: Sequence[int], whole: bool) -> list[nn.Linear]:
    layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
    for layer in layers:
        for parameter in layer.parameters() if whole else ():
            parameter.data = torch.randint(-2, 3, parameter.shape).float()
    return layers


def both(features: Tensor, layers: Sequence[nn.Linear]) -> list[tuple[Tensor, Tensor]]:
    """Return output and gradients of features and parameters, by the native code and by torch in float64."""
    results = []
    gradient = torch.randint(-2, 3, (len(features), layers[-1].out_features)).double()
    for function, dtype in ((perceptron, torch.float32), (torchs, torch.float64)):
        copies = [copy.deepcopy(layer).to(dtype) for layer in layers]
        inputs = features.detach().to(dtype).requires_grad_()
        output = function(inputs, copies)
        assert ("Perceptron" in str(output.grad_fn)) == (function is perceptron)
        output.backward(gradient.to(dtype))
        assert inputs.grad is not None
        gradients = [parameter.grad for layer in copies for parameter in layer.parameters()]
        found = [output.detach(), inputs.grad, *(each for each in gradients if each is not None)]
        assert len(found) == 2 + 2 * len(layers)
        results.append([each.double() for each in found])
    return list(zip(*results, strict=True))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 70),
    st.lists(st.integers(1, 40), min_size=2, max_size=5),
    st.sampled_from("CIMS"),
    st.integers(0, 99),
)
def test_equals_torch_exactly_on_integers(images: int, sizes: list[int], layout: str, seed: int) -> None:
    torch.manual_seed(seed)
    features = torch.randint(-2, 3, (images, sizes[0])).float()
    if layout == "I":  # image innermost, as the convolution writes it
        features = features.t().contiguous().t()
    elif layout == "M":  # maps
        features = features.view(images, sizes[0], 1, 1)
    elif layout == "S":  # part of a larger tensor
        features = torch.cat([features, features], 1)[:, : sizes[0]]
    for ours, theirs in both(features, linears(sizes, whole=True)):
        if theirs.abs().max() < 2**24:  # where float32 is exact
            assert torch.equal(ours, theirs)
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=float(1e-5 * theirs.abs().max()))


@pytest.mark.parametrize("images", [64, 100, 256])
@pytest.mark.parametrize("sizes", [(400, 120, 84, 10), (784, 80, 40, 20, 10)])
def test_is_near_float64_on_the_networks_shapes(images: int, sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for ours, theirs in both(torch.randn(images, sizes[0]), linears(sizes, whole=False)):
        assert (ours - theirs).abs().max() < 2e-6 * theirs.abs().max()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_treated_as_by_torch(value: float) -> None:
    torch.manual_seed(0)
    features = torch.randint(-2, 3, (33, 20)).float()
    features[5, 3] = features[32, 19] = value
    for ours, theirs in both(features, linears((20, 17, 5), whole=True)):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.filterwarnings("ignore:Input #:UserWarning")  # a warning about float32, for which the tolerances are made
def test_gradient_equals_finite_differences() -> None:
    torch.manual_seed(0)
    layers = linears((6, 5, 3), whole=False)
    features = torch.randn(4, 6, requires_grad=True)
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    function = linear._Perceptron.apply
    assert torch.autograd.gradcheck(function, (features, *parameters), eps=1e-2, atol=1e-2, rtol=1e-2)


def gradients(
    function: Callable[[Tensor, Sequence[nn.Linear]], Tensor], features: Tensor, layers: Sequence[nn.Linear]
) -> list[Tensor | None]:
    """Return each parameter's gradient, for a gradient of the logits with strides 0."""
    for layer in layers:
        layer.zero_grad()
    function(features, layers).sum().backward()
    return [parameter.grad for layer in layers for parameter in layer.parameters()]


def test_frozen_tied_and_non_contiguous_parameters() -> None:
    torch.manual_seed(0)
    layers = linears((4, 4, 4, 2), whole=True)
    layers[0].weight = nn.Parameter(layers[0].weight.detach().t())  # not contiguous
    layers[2].bias.requires_grad_(False)
    layers.insert(1, layers[0])  # the same layer twice
    features = torch.randint(-2, 3, (5, 4)).float()
    ours, theirs = gradients(perceptron, features, layers), gradients(torchs, features, layers)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.equal(one, other)
    logits = perceptron(features, layers)
    assert torch.equal(logits.clone().mul_(2), perceptron(features, layers).mul_(2))  # in place


def test_an_empty_batch_and_wrong_shapes() -> None:
    layers = linears((4, 3, 2), whole=False)
    assert perceptron(torch.randn(0, 4), layers).shape == (0, 2)
    for gradient in gradients(perceptron, torch.randn(0, 4), layers):
        assert gradient is not None
        assert not gradient.any()
    with pytest.raises(ValueError, match=r"do not fit: \[5, 3, 2\]"):
        perceptron(torch.randn(5, 5), layers)


def test_a_second_derivative_is_an_error() -> None:
    features = torch.randn(5, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(perceptron(features, linears((4, 3, 2), whole=False)).sum(), features, create_graph=True)


@pytest.mark.parametrize("model", [MLP([9, 8, 7]), LeNet()], ids=["mlp", "lenet"])
def test_function_transforms_use_torchs_operators(model: MLP | LeNet) -> None:
    images = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(vmap(lambda image: model(image[None])[0])(images), model(images))
    if isinstance(model, MLP):  # torch.library has no `torch.func.grad` for the convolution
        own, other = images.clone().requires_grad_(), grad(lambda some: model(some).sum())(images)
        model(own).sum().backward()
        torch.testing.assert_close(own.grad, other)
    stacked = {"linear1.weight": torch.stack([model.get_parameter("linear1.weight")] * 2).detach()}
    both = vmap(lambda some: functional_call(model, some, (images,)))(stacked)
    torch.testing.assert_close(both[1], model(images))


def test_falls_back_to_torch() -> None:
    layers = linears((4, 3, 2), whole=False)
    features = torch.randn(5, 4)
    without = [nn.Linear(4, 3, bias=False), layers[1]]
    assert torch.equal(perceptron(features, without), torchs(features, without))
    with torch.autocast("cpu", torch.bfloat16):
        assert perceptron(features, layers).dtype == torch.bfloat16
    torch.set_num_threads(2)
    assert torch.equal(perceptron(features, layers), torchs(features, layers))
    torch.set_num_threads(1)
    double = [copy.deepcopy(layer).double() for layer in layers]
    assert torch.equal(perceptron(features.double(), double), torchs(features.double(), double))
