"""A data set in memory: images and labels of the training and the test set."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError

Pixels = NDArray[np.uint8]
Labels = NDArray[Any]  # whole numbers


def label_type(classes: int) -> Any:
    """Return the NumPy type in which labels of this number of classes are kept."""
    return np.uint8 if classes <= 256 else np.int32


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W), uint8, and labels (N,), 0 to K - 1, of `label_type(K)`; K names of classes.

    Grey images may be given as (N, H, W).
    """

    train_images: Pixels
    train_labels: Labels
    test_images: Pixels
    test_labels: Labels
    classes: tuple[str, ...] = tuple("0123456789")

    def __post_init__(self) -> None:
        for name in ("train_images", "test_images"):
            if (images := getattr(self, name)).ndim == 3:
                object.__setattr__(self, name, images[:, None])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the four arrays, in this order."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def named(self, names: Sequence[str] | None) -> "Images":
        """Return the images with these names of classes, if any. Raises UserError for another number of names."""
        if names is None:
            return self
        if len(names) != len(self.classes):
            raise UserError(
                f"data.classes: is a list of {len(names)}, but the data have {len(self.classes)} classes; "
                "give a name for each label, in order, or leave it out"
            )
        renamed = copy.copy(self)  # with its cached hash
        object.__setattr__(renamed, "classes", tuple(names))
        return renamed

    def check_sizes(self, validation: int, batch_size: int) -> None:
        """Raise UserError if there are too few images for the validation set or for one batch."""
        n = len(self.train_labels)
        if validation >= n:
            raise UserError(f"data.validation={validation}: must be fewer than the {n} training images")
        if batch_size > n - validation:
            held_out = f" that data.validation={validation} leaves" if validation else ""
            raise UserError(
                f"batch_size={batch_size}: must not be above the {n - validation} training images{held_out}"
            )


def largest_class(labels: Labels) -> float:
    """Return the share of the largest class: the accuracy of guessing it for every image. 0 without labels."""
    return float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0


def brightness(images: NDArray[np.uint8]) -> dict[str, float]:
    """Return the mean brightness, 0 to 1, of images (N, C, H, W) and of their border, one pixel wide."""
    edges = [images[..., 0, :], images[..., -1, :], images[..., 1:-1, 0], images[..., 1:-1, -1]]
    border = np.concatenate([edge.reshape(-1) for edge in edges])
    return {"whole": float(images.mean() / 255), "border": float(border.mean() / 255)}
