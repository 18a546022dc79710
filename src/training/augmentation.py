"""Random flips and shifts of the training images, drawn for a whole epoch at once."""

import numpy as np
import torch
from torch import Tensor

FARTHEST = 4  # pixels that an image is shifted, in each direction


class Augmentation:
    """Changes images by `kind`: `flip`, mirrored left to right or not; `shift`, moved by up to 4 pixels; `flip_shift`.

    Image i of n is changed in the same way whatever its minibatch. Pixels that come into view are 0.
    """

    def __init__(self, kind: str, n: int, device: torch.device) -> None:
        self.flips = torch.empty(n, dtype=torch.bool, device=device) if "flip" in kind else None
        self.shifts = torch.empty(2, n, dtype=torch.int64, device=device) if "shift" in kind else None  # down, right

    def draw(self, generator: np.random.Generator) -> None:
        """Draw the changes of an epoch. In place, since a CUDA graph reads them where they were at its capture."""
        if self.flips is not None:
            self.flips.copy_(torch.from_numpy(generator.integers(0, 2, len(self.flips)).astype(bool)))
        if self.shifts is not None:
            self.shifts.copy_(torch.from_numpy(generator.integers(-FARTHEST, FARTHEST + 1, self.shifts.shape)))

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """Return images (B, C, H, W), bytes, each changed as image `indices[b]`."""
        if self.flips is not None:
            images = torch.where(self.flips[indices].view(-1, 1, 1, 1), images.flip(3), images)
        if self.shifts is not None:
            for axis, shift in zip((2, 3), self.shifts[:, indices], strict=True):
                images = _shifted(images, shift, axis)
        return images


def _shifted(images: Tensor, shift: Tensor, axis: int) -> Tensor:
    """Move each image by its number of pixels (B,) along an axis."""
    size = images.shape[axis]
    come_from = torch.arange(size, device=images.device) - shift.view(-1, 1)  # (B, size)
    outside = (come_from < 0) | (come_from >= size)
    shape = (-1, 1, size, 1) if axis == 2 else (-1, 1, 1, size)
    source = come_from.clamp(0, size - 1).view(shape).expand(images.shape)
    return images.gather(axis, source).masked_fill(outside.view(shape), 0)
