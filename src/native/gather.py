"""Gathering and normalisation of a minibatch's pixels."""

from typing import NamedTuple

import torch
from torch import Tensor

from src.native.build import backend, library


class Pixels(NamedTuple):
    """Images as bytes (N, C, H, W), their labels (N,), and scale and shift of each channel (C, 2), which normalise."""

    images: Tensor
    labels: Tensor
    affine: Tensor


def gather(images: Tensor, indices: Tensor, affine: Tensor) -> Tensor:
    """Return byte * scale + shift (B, C, H, W) of images (N, C, H, W) at indices (B,); affine: scale and shift (C, 2).

    `indices` are not checked. The native code returns a tensor with the memory layout (C, H, W, B), as the native
    convolution uses it.
    """
    n, channels, height, width = len(indices), *images.shape[1:]
    native = (images.dtype, indices.dtype, affine.dtype) == (torch.uint8, torch.int64, torch.float32)
    if not (native and images.device.type == "cpu" and backend().startswith("native")):
        scale, shift = affine.view(channels, 2, 1, 1).unbind(1)
        return torch.addcmul(shift, images[indices].to(affine.dtype), scale)
    to = affine.new_empty(channels, height, width, n)
    library().gather(
        images.data_ptr(), channels, height * width, indices.data_ptr(), n,
        affine.data_ptr(), to.data_ptr(),
    )  # fmt: skip
    return to.permute(3, 0, 1, 2)
