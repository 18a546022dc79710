"""Gathering and normalisation of a minibatch's pixels."""

from ctypes import byref
from typing import NamedTuple

import torch
from torch import Tensor

from src.native.build import library, supports
from src.native.convolution import StridedTensor


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (byte / 255 - mean) / std of images (B, C, H, W); mean and std are (C, 1, 1)."""
    return images.to(mean.dtype).div(255).sub(mean).div(std)


class Pixels(NamedTuple):
    """Images as bytes (N, C, H, W), their labels (N,), and what normalises each channel: mean and std, (C, 1, 1)."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def minibatch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised images (B, C, H, W) and the labels (B,) at indices (B,), which are not checked.

        Images from the native code have the same values, in the memory layout (C, H, W, B) that the native convolution
        uses.
        """
        labels = self.labels[indices]
        if (self.images.dtype, indices.dtype) != (torch.uint8, torch.int64) or not supports(self.mean, self.std):
            return normalised(self.images[indices], self.mean, self.std), labels
        n, channels, height, width = len(indices), *self.images.shape[1:]
        to = self.mean.new_empty(channels, height, width, n).permute(3, 0, 1, 2)
        library().gather(
            self.images.data_ptr(), channels, height * width, indices.data_ptr(), n,
            self.mean.data_ptr(), self.std.data_ptr(), byref(StridedTensor.of(to)),
        )  # fmt: skip
        return to, labels
