"""The native operator, compared with torch's three operators in float64."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import conv2d, max_pool2d, relu

from src.models import LeNet
from src.native.build import backend
from src.native.convolution import CHUNK, conv_pool_relu
from src.native.threads import THREADS

Results = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def native() -> None:
    if not backend().startswith("native"):
        pytest.fail(f"the native operator is unavailable: {backend()}")


def torchs(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    return relu(max_pool2d(conv2d(images, weight, bias, padding=padding), 2))


def results(
    function: Callable[[Tensor, Tensor, Tensor, int], Tensor],
    tensors: tuple[Tensor, ...],
    padding: int,
    gradient: Tensor,
) -> Results:
    """Return the output and the gradients of images, weight and bias, in float64."""
    images, weight, bias = (tensor.detach().requires_grad_() for tensor in tensors)
    output = function(images, weight, bias, padding)
    output.backward(gradient.to(output.dtype))
    assert images.grad is not None
    assert weight.grad is not None
    assert bias.grad is not None
    return output.detach().double(), images.grad.double(), weight.grad.double(), bias.grad.double()


def both(tensors: tuple[Tensor, ...], padding: int) -> tuple[Results, Results]:
    images, weight, bias = double = tuple(tensor.double() for tensor in tensors)
    gradient = torch.randint(-3, 4, torchs(images, weight, bias, padding).shape).double()
    return results(conv_pool_relu, tensors, padding, gradient), results(torchs, double, padding, gradient)


@st.composite
def shapes(draw: st.DrawFn, even: bool = False) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Draw shapes of images and weight, and a padding; with `even`, pooling omits no row or column."""
    images, channels, filters = draw(st.integers(1, 70)), draw(st.integers(1, 4)), draw(st.integers(1, 20))
    kernel, padding = draw(st.integers(1, 5)), draw(st.integers(0, 2))
    convolved = st.integers(2, 9).filter(lambda size: size > 2 * padding - kernel + 1 and not (even and size % 2))
    height, width = (draw(convolved) + kernel - 1 - 2 * padding for _ in range(2))
    return (images, channels, height, width), (filters, channels, kernel, kernel), padding


def whole_numbers(*shape: int) -> Tensor:
    """Return small integers, whose sums are exact in float32 in any order and which often tie."""
    return torch.randint(-3, 4, shape).float()


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "images first": lambda images: images,
    "images last": lambda images: images.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "channels last": lambda images: images.contiguous(memory_format=torch.channels_last),
    "part of a larger tensor": lambda images: torch.cat([images, images], 3)[..., : images.shape[3]],
    "one image for all": lambda images: images[:1].expand(images.shape),
}


@settings(deadline=None, max_examples=60)
@given(shapes(), st.sampled_from(sorted(LAYOUTS)), st.integers(0, 2**31))
def test_equals_torch_exactly_on_integers(
    shape: tuple[tuple[int, ...], tuple[int, ...], int], layout: str, seed: int
) -> None:
    torch.manual_seed(seed)
    images, weight, padding = shape
    tensors = LAYOUTS[layout](whole_numbers(*images)), whole_numbers(*weight), whole_numbers(weight[0])
    ours, theirs = both(tensors, padding)
    for name, one, other in zip(("output", "images", "weight", "bias"), ours, theirs, strict=True):
        assert torch.equal(one, other), name


@settings(deadline=None, max_examples=30)
@given(
    shapes(even=True),
    st.lists(st.sampled_from([float("nan"), float("inf"), -float("inf")]), min_size=1, max_size=5),
    st.data(),
)
def test_nan_and_infinity_are_treated_as_by_torch(
    shape: tuple[tuple[int, ...], tuple[int, ...], int], values: list[float], data: st.DataObject
) -> None:
    """Except the weights' gradient, which torch makes NaN also by 0 x NaN of pixels that pooling did not choose."""
    torch.manual_seed(0)
    sizes, weight, padding = shape
    images = whole_numbers(*sizes)
    for value in values:
        images.view(-1)[data.draw(st.integers(0, images.numel() - 1))] = value
    ours, theirs = both((images, whole_numbers(*weight), whole_numbers(weight[0])), padding)
    for name, one, other in zip(("output", "images", "weight", "bias"), ours, theirs, strict=True):
        finite = other.isfinite() if name == "weight" else torch.ones_like(other, dtype=torch.bool)
        torch.testing.assert_close(one[finite], other[finite], rtol=0, atol=0, equal_nan=True, msg=name)
    output, _, of_weight, _ = ours
    spoilt = output.isnan().transpose(0, 1).flatten(1).any(1)
    assert not of_weight[spoilt].isfinite().flatten(1).all(1).any()


@pytest.mark.parametrize(("shape", "filters", "padding"), [((64, 1, 28, 28), 6, 2), ((256, 6, 14, 14), 16, 0)])
def test_is_near_float64_on_lenets_shapes(shape: tuple[int, ...], filters: int, padding: int) -> None:
    torch.manual_seed(0)
    ours, theirs = both((torch.rand(shape), torch.randn(filters, shape[1], 5, 5) / 5, torch.randn(filters)), padding)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_number_of_threads_changes_no_bit(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tensors = torch.rand(4 * CHUNK + 5, 2, 9, 9), torch.randn(5, 2, 3, 3), torch.randn(5)
    gradient = torch.randn(len(tensors[0]), 5, 4, 4)
    alone = results(conv_pool_relu, tensors, 1, gradient)
    monkeypatch.setattr(THREADS, "number", threads)
    for _ in range(20):
        shared = results(conv_pool_relu, tensors, 1, gradient)
        assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


@pytest.mark.filterwarnings("ignore:Input #:UserWarning")  # a warning about float32, for which the tolerances are made
def test_gradient_equals_finite_differences() -> None:
    torch.manual_seed(0)
    # Distinct values, so that a small step does not change which pixel is the largest.
    images = torch.randperm(2 * 2 * 4 * 6).reshape(2, 2, 4, 6).float().requires_grad_()
    weight, bias = torch.randn(3, 2, 3, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    function = partial(conv_pool_relu, padding=1)
    assert torch.autograd.gradcheck(function, (images, weight, bias), eps=1e-2, atol=1e-2, rtol=1e-2)


def test_an_empty_batch_and_wrong_shapes() -> None:
    weight, bias = torch.randn(4, 1, 3, 3), torch.randn(4)
    assert conv_pool_relu(torch.randn(0, 1, 6, 6), weight, bias, 0).shape == (0, 4, 2, 2)
    for images in (torch.randn(2, 2, 6, 6), torch.randn(2, 1, 3, 3)):
        with pytest.raises(ValueError, match="do not fit"):
            conv_pool_relu(images, weight, bias, 0)


def test_falls_back_to_torch() -> None:
    images, weight, bias = torch.randn(2, 1, 6, 6).double(), torch.randn(3, 1, 3, 3).double(), torch.randn(3).double()
    assert torch.equal(conv_pool_relu(images, weight, bias, 1), torchs(images, weight, bias, 1))
    oblong = torch.randn(3, 1, 2, 3)
    assert conv_pool_relu(images.float(), oblong, bias.float(), 0).shape == (2, 3, 2, 2)


def test_a_second_derivative_is_an_error() -> None:
    images, weight, bias = torch.randn(2, 1, 6, 6, requires_grad=True), torch.randn(3, 1, 3, 3), torch.randn(3)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(conv_pool_relu(images, weight, bias, 0).sum(), images, create_graph=True)


def test_autocast_and_function_transforms_use_torchs_operators() -> None:
    torch.manual_seed(0)
    model, images = LeNet(), torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(vmap(lambda image: model(image[None])[0])(images), model(images))
    own, other = images.clone().requires_grad_(), grad(lambda some: model(some).sum())(images)
    model(own).sum().backward()
    torch.testing.assert_close(own.grad, other)
    stacked = {"conv1.weight": torch.stack([model.conv1.weight] * 2).detach()}
    both = vmap(lambda some: functional_call(model, some, (images,)))(stacked)
    torch.testing.assert_close(both[1], model(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert model.conv1(images).dtype == torch.bfloat16
