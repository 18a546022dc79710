"""Gathering and normalisation of a minibatch's pixels."""

from ctypes import byref
from typing import NamedTuple

import torch
from torch import Tensor

from src.native.build import backend, library
from src.native.convolution import StridedTensor


class Pixels(NamedTuple):
    """Images as bytes (N, C, H, W), their labels (N,), and what normalises each channel: mean and std, (C, 1, 1)."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def minibatch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised images (B, C, H, W) and the labels (B,) at indices (B,), which are not checked.

        Bytes become (byte / 255 - mean) / std. Images from the native code have the memory layout (C, H, W, B), as the
        native convolution uses it.
        """
        labels = self.labels[indices]
        native = (self.images.dtype, indices.dtype, self.mean.dtype) == (torch.uint8, torch.int64, torch.float32)
        if not (native and self.images.device.type == "cpu" and backend().startswith("native")):
            return self.images[indices].to(self.mean.dtype).div_(255).sub_(self.mean).div_(self.std), labels
        n, channels, height, width = len(indices), *self.images.shape[1:]
        to = self.mean.new_empty(channels, height, width, n).permute(3, 0, 1, 2)
        library().gather(
            self.images.data_ptr(), channels, height * width, indices.data_ptr(), n,
            self.mean.data_ptr(), self.std.data_ptr(), byref(StridedTensor.of(to)),
        )  # fmt: skip
        return to, labels
