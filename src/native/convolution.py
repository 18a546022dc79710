"""Convolution, bias, 2 x 2 max pooling and ReLU as one torch operator, `ravine::conv_pool_relu`."""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import byref, c_int64
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from src.native.build import forbid_double_backward, in_plain_eager, library, supports
from src.native.threads import THREADS

CHUNK = 32  # images per thread at a time; gradients are summed by chunk, so the thread count does not change them

OPERATORS = torch.library.Library("ravine", "DEF")
OPERATORS.define(
    "conv_pool_relu(Tensor images, Tensor weight, Tensor bias, int padding) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
OPERATORS.define(
    "conv_pool_relu_backward(Tensor gradient, Tensor images, Tensor weight, Tensor winners, int padding, "
    "bool of_images) -> (Tensor, Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)


class Shape(ctypes.Structure):
    """Sizes of a convolution, as in `kernels.h`; `images` is the batch size."""

    _fields_ = [(name, c_int64) for name in ("images", "channels", "height", "width", "filters", "kernel", "padding")]


class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("stride", c_int64 * 4)]


def conv_pool_relu(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """relu(max_pool2d(conv2d(images, weight, bias, padding=padding), 2)): (B, C, H, W) to (B, O, H', W').

    The native operator is used if it supports the tensors; its output has the memory layout (O, H', W', B). Otherwise
    torch's operators are used.
    """
    if weight.shape[2] == weight.shape[3] and supports(images, weight, bias):
        if in_plain_eager():
            return _ConvPoolRelu.apply(images, weight, bias, padding)
        return torch.ops.ravine.conv_pool_relu(images, weight, bias, padding)[0]
    return relu(max_pool2d(conv2d(images, weight, bias, padding=padding), 2))


def shape_and_sizes(
    images: Sequence[int], weight: Sequence[int], padding: int
) -> tuple[Shape, tuple[int, int, int, int]]:
    """Return the C++ struct and the output's sizes (O, H', W', B). Raises ValueError for shapes that do not fit."""
    (b, c, h, w), (o, channels, kernel, width) = images, weight
    pooled = [(size + 2 * padding - kernel + 1) // 2 for size in (h, w)]
    if c != channels or kernel != width or min(pooled) < 1 or padding < 0:
        raise ValueError(f"images {tuple(images)}, weight {tuple(weight)} and padding {padding} do not fit")
    return Shape(b, c, h, w, o, kernel, padding), (o, pooled[0], pooled[1], b)


def _tensor(tensor: Tensor) -> _Tensor:
    return _Tensor(tensor.data_ptr(), (c_int64 * 4)(*tensor.stride()))


def _forward(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Return the output and its winners: the pixel of the window, 0 to 3, it came from, or 4 if ReLU zeroed it."""
    shape, sizes = shape_and_sizes(images.shape, weight.shape, padding)
    if len(bias) != len(weight):
        raise ValueError(f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do not fit")
    output, winners = images.new_empty(sizes), images.new_empty(sizes, dtype=torch.uint8)
    weight, bias = weight.contiguous(), bias.contiguous()

    library().forward(
        byref(shape), byref(_tensor(images)), weight.data_ptr(), bias.data_ptr(),
        output.data_ptr(), winners.data_ptr(), CHUNK, THREADS.total,
    )  # fmt: skip
    return output.permute(3, 0, 1, 2), winners.permute(3, 0, 1, 2)


def _backward(
    gradient: Tensor, images: Tensor, weight: Tensor, winners: Tensor, padding: int, of_images: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of images (empty unless `of_images`), weight and bias."""
    shape, (o, *pooled, b) = shape_and_sizes(images.shape, weight.shape, padding)
    if not gradient.shape == winners.shape == (b, o, *pooled):
        raise ValueError(f"gradient {tuple(gradient.shape)} and winners {tuple(winners.shape)} do not fit")
    winners = winners.permute(1, 2, 3, 0).contiguous()
    _, c, h, w = images.shape
    to_images = images.new_empty((c, h, w, b) if of_images else (0, 0, 0, 0)).permute(3, 0, 1, 2)
    weight = weight.contiguous()
    to_weight, to_bias = torch.empty_like(weight), weight.new_empty(o)

    library().backward(
        byref(shape), byref(_tensor(images)), weight.data_ptr(), byref(_tensor(gradient)),
        winners.data_ptr(), byref(_tensor(to_images)), to_weight.data_ptr(),
        to_bias.data_ptr(), False, CHUNK, THREADS.total,
    )  # fmt: skip
    return to_images, to_weight, to_bias


def _fake_forward(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    _, sizes = shape_and_sizes(images.shape, weight.shape, padding)
    output = images.new_empty(sizes).permute(3, 0, 1, 2)
    return output, torch.empty_like(output, dtype=torch.uint8)


def _fake_backward(
    gradient: Tensor, images: Tensor, weight: Tensor, winners: Tensor, padding: int, of_images: bool
) -> tuple[Tensor, Tensor, Tensor]:
    b, c, h, w = images.shape
    to_images = images.new_empty((c, h, w, b) if of_images else (0, 0, 0, 0)).permute(3, 0, 1, 2)
    return to_images, torch.empty_like(weight, memory_format=torch.contiguous_format), weight.new_empty(len(weight))


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    images, weight, _, ctx.padding = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(images, weight, output[1])


def _differentiate(
    ctx: Any, gradient: Tensor, _: None, backward: Callable[..., Any] = torch.ops.ravine.conv_pool_relu_backward
) -> tuple[Tensor | None, Tensor, Tensor, None]:
    images, weight, winners = ctx.saved_tensors
    of_images = ctx.needs_input_grad[0]
    to_images, to_weight, to_bias = backward(gradient, images, weight, winners, ctx.padding, of_images)
    return to_images if of_images else None, to_weight, to_bias, None


class _ConvPoolRelu(torch.autograd.Function):
    """The operator's autograd, without torch.library's dispatch, which takes a tenth of a small step's time."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        output, winners = _forward(images, weight, bias, padding)
        ctx.padding = padding
        ctx.save_for_backward(images, weight, winners)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        forbid_double_backward("conv_pool_relu")
        return _differentiate(ctx, gradient, None, _backward)


def _vectorised(
    info: Any, axes: tuple[int | None, ...], images: Tensor, weight: Tensor, bias: Tensor, padding: int
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Loop over the networks of a group; sharing work between them would not be faster here."""
    batched = zip((images, weight, bias), axes, strict=False)
    each = zip(*(t.unbind(axis) if axis is not None else [t] * info.batch_size for t, axis in batched), strict=True)
    outputs, winners = zip(*(torch.ops.ravine.conv_pool_relu(*one, padding) for one in each), strict=True)
    return (torch.stack(outputs), torch.stack(winners)), (0, 0)


OPERATORS.impl("conv_pool_relu", _forward, "CPU")
OPERATORS.impl("conv_pool_relu_backward", _backward, "CPU")
torch.library.register_fake("ravine::conv_pool_relu", _fake_forward, lib=OPERATORS)
torch.library.register_fake("ravine::conv_pool_relu_backward", _fake_backward, lib=OPERATORS)
torch.library.register_autograd("ravine::conv_pool_relu", _differentiate, setup_context=_save, lib=OPERATORS)
torch.library.register_vmap("ravine::conv_pool_relu", _vectorised, lib=OPERATORS)
