"""Gathering and normalisation of a minibatch's pixels."""

from typing import NamedTuple

import torch
from torch import Tensor

from src.native.build import backend, library


class Pixels(NamedTuple):
    """Images as bytes (N, C, H, W), their labels (N,), and the normalised value of each byte (C, 256), by channel."""

    images: Tensor
    labels: Tensor
    values: Tensor


def gather(images: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """Return the values (B, C, H, W) of the bytes of images (N, C, H, W) at indices (B,); `values` (C, 256) has them.

    `indices` are not checked. The native code returns a tensor with the memory layout (C, H, W, B), as the native
    convolution uses it.
    """
    n, channels, height, width = len(indices), *images.shape[1:]
    native = (images.dtype, indices.dtype, values.dtype) == (torch.uint8, torch.int64, torch.float32)
    if not (native and images.device.type == "cpu" and backend().startswith("native")):
        bytes_ = images[indices].int()
        return (
            values[0][bytes_]
            if channels == 1
            else torch.stack([table[of_channel] for table, of_channel in zip(values, bytes_.unbind(1), strict=True)], 1)
        )
    to = values.new_empty(channels, height, width, n)
    library().gather(
        images.data_ptr(), channels, height * width, indices.data_ptr(), n,
        values.data_ptr(), to.data_ptr(),
    )  # fmt: skip
    return to.permute(3, 0, 1, 2)
