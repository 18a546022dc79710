"""Convolution, bias, 2 x 2 max pooling and ReLU as one operation of autograd."""

import ctypes
import math
from collections.abc import Sequence
from ctypes import byref, c_int64
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from src.native.build import in_plain_eager, library, supports
from src.native.threads import THREADS

CHUNK = 32  # images per thread at a time; gradients are summed by chunk, so the thread count does not change them


class Shape(ctypes.Structure):
    """Sizes of a convolution, as in `kernels.h`; `images` is the batch size."""

    _fields_ = [(name, c_int64) for name in ("images", "channels", "height", "width", "filters", "kernel", "padding")]


class StridedTensor(ctypes.Structure):
    """A tensor of four dimensions, as in `kernels.h`, where its images may also be stored by vectors."""

    _fields_ = [("data", ctypes.c_void_p), ("lane", c_int64), ("stride", c_int64 * 4)]

    @classmethod
    def of(cls, tensor: Tensor) -> "StridedTensor":
        """Return the C++ struct of a tensor, which must live as long."""
        return cls(tensor.data_ptr(), tensor.stride(0), (c_int64 * 4)(*tensor.stride()))


def conv_pool_relu(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """relu(max_pool2d(conv2d(images, weight, bias, padding=padding), 2)): (B, C, H, W) to (B, O, H', W').

    The native code is used if it supports the tensors; its output has the memory layout (O, H', W', B). Otherwise
    torch's operators are used.
    """
    if in_plain_eager() and weight.shape[2] == weight.shape[3] and supports(images, weight, bias):
        return _ConvPoolRelu.apply(images, weight, bias, padding)
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


class _ConvPoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.shape, sizes = shape_and_sizes(images.shape, weight.shape, padding)
        if len(bias) != len(weight):
            raise ValueError(f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do not fit")
        output = images.new_empty(sizes).permute(3, 0, 1, 2)
        lanes = library().lanes()
        # The pixel of each window that is the output, for whole vectors of images.
        winners = images.new_empty(math.prod(sizes[:3]) * -(-len(images) // lanes) * lanes, dtype=torch.uint8)
        ctx.save_for_backward(images, weight, winners)
        weight, bias = weight.contiguous(), bias.contiguous()
        library().forward(
            byref(ctx.shape), byref(StridedTensor.of(images)), weight.data_ptr(), bias.data_ptr(),
            byref(StridedTensor.of(output)), winners.data_ptr(), CHUNK, THREADS.total,
        )  # fmt: skip
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        if torch.is_grad_enabled():  # a backward pass is to be differentiated: gradients would be wrong silently
            raise RuntimeError("conv_pool_relu: the native code has no second derivative")
        images, weight, winners = ctx.saved_tensors
        _, c, h, w = images.shape
        of_images = ctx.needs_input_grad[0]
        to_images = images.new_empty((c, h, w, len(images)) if of_images else (0, 0, 0, 0)).permute(3, 0, 1, 2)
        weight = weight.contiguous()
        to_weight, to_bias = torch.empty_like(weight), weight.new_empty(len(weight))
        library().backward(
            byref(ctx.shape), byref(StridedTensor.of(images)), weight.data_ptr(), byref(StridedTensor.of(gradient)),
            winners.data_ptr(), byref(StridedTensor.of(to_images)), to_weight.data_ptr(), to_bias.data_ptr(),
            False, CHUNK, THREADS.total,
        )  # fmt: skip
        return to_images if of_images else None, to_weight, to_bias, None
