"""Gathering and normalisation of a minibatch's pixels."""

import torch
from torch import Tensor

from src.native.build import backend, library


def gather(images: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """Return `values[images[indices]]`, (B, 1, H, W), of byte images (N, H, W) and `values` (256,).

    `indices` (B,) are not checked. The native code returns a tensor with the memory layout (1, H, W, B), as the native
    convolution uses it.
    """
    n, height, width = len(indices), *images.shape[1:]
    native = (images.dtype, indices.dtype, values.dtype) == (torch.uint8, torch.int64, torch.float32)
    if not (native and images.device.type == "cpu" and backend().startswith("native")):
        return values[images[indices].int()].unsqueeze(1)
    to = values.new_empty(1, height, width, n)
    library().gather(
        images.data_ptr(), height * width, indices.data_ptr(), n,
        values.data_ptr(), to.data_ptr(),
    )  # fmt: skip
    return to.permute(3, 0, 1, 2)
