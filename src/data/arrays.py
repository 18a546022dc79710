"""Data sets given as arrays: checked, and brought into the form of `Images`."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from src.data.images import Images, Labels, Pixels, label_type
from src.errors import UserError, flat
from src.files import irregular

SPLIT_SEED = 0  # of the test set: that of no run, so that all runs share one test set
CHANNELS = (1, 3)


class Source(ABC):
    """A class whose method `arrays` gives a data set; any class with that method counts as one.

    A constructor argument `data_root` gets that setting.
    """

    @abstractmethod
    def arrays(self) -> Mapping[str, Any]:
        """Return `x_train`, `y_train`, and optionally `x_test`, `y_test` and `classes`.

        Images are uint8, (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3; labels are whole numbers (N,), 0 to
        K - 1. `classes` are their K names.
        """

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        return callable(getattr(other, "arrays", None))


class Npz:
    """The arrays of an `.npz` file. Raises UserError."""

    def __init__(self, path: str) -> None:
        self.path = existing(path)

    def arrays(self) -> Mapping[str, Any]:
        if what := irregular(self.path):
            raise UserError(f"{self.path}: is {what}, not an .npz file")
        try:
            with ZipFile(self.path) as file:
                check_memory(sum(member.file_size for member in file.infolist()), str(self.path))
            with np.load(self.path, allow_pickle=False) as arrays:
                return dict(arrays)
        except UserError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise UserError(
                f"{self.path}: cannot be read as .npz ({flat(error)}); write it with "
                "np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
            ) from error


def existing(path: str) -> Path:
    """Return `data.path` as a path. Raises UserError if nothing is there."""
    if not path.strip():
        raise UserError("data.path=: must name a file or folder; try data.path=my.npz")
    if path.startswith("~"):
        raise UserError(f'data.path={path}: ~ is not expanded here; write data.path="$HOME{path[1:]}"')
    if not Path(path).exists():
        raise UserError(f"data.path={path}: does not exist")
    return Path(path)


def check_memory(size: int, where: str) -> None:
    """Raise UserError if images of this size in bytes would take more than half of the machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory / 2:
        raise UserError(
            f"{where}: takes {size / 2**30:.1f} GiB, more than half of this machine's {memory / 2**30:.1f} GiB of "
            "memory; take fewer or smaller images"
        )


def images_of(found: Mapping[str, Any], where: str, test: float) -> Images:
    """Return the data set that a `Source` in `where` gives. Raises UserError.

    `test` is the share of the images that become the test set, stratified, if there is no `x_test`.
    """
    if not isinstance(found, Mapping):
        raise UserError(
            f"{where}: arrays() returned a {type(found).__name__}; must be a dictionary with x_train and so on"
        )
    found = {key: value for key, value in found.items() if value is not None}
    for key in ("x_train", "y_train"):
        if key not in found:
            raise UserError(f"{where}: has no {key}; it has {', '.join(sorted(found)) or 'nothing'}")
    splits = {name: _split(found, name, where) for name in ("train", "test") if f"x_{name}" in found}
    classes = _classes(splits, found.get("classes"), where)
    if "test" not in splits:
        if not test:
            raise UserError(f"{where}: has no test set; data.test=0.2 takes a fifth of the images as one")
        splits = _stratified(*splits["train"], test)
    elif test:
        raise UserError(f"data.test={test}: {where} has a test set of {len(splits['test'][1])} images; leave it out")
    (train, train_labels), (test_images, test_labels) = splits["train"], splits["test"]
    if train.shape[1:] != test_images.shape[1:]:
        shapes = " and ".join("x".join(map(str, images.shape[1:])) for images in (train, test_images))
        raise UserError(f"{where}: images of the training and the test set differ in shape, {shapes}")
    kind = label_type(len(classes))
    return Images(train, train_labels.astype(kind), test_images, test_labels.astype(kind), classes)


def _split(found: Mapping[str, Any], name: str, where: str) -> tuple[Pixels, NDArray[np.int64]]:
    if f"y_{name}" not in found:
        raise UserError(f"{where}: has x_{name} but no y_{name}")
    images = _pixels(np.asarray(found[f"x_{name}"]), f"{where}: x_{name}")
    labels = _whole(np.asarray(found[f"y_{name}"]), f"{where}: y_{name}")
    if len(labels) != len(images):
        raise UserError(f"{where}: y_{name} has {len(labels)} labels for {len(images)} images")
    return images, labels


def _pixels(images: NDArray[Any], where: str) -> Pixels:
    """Return images (N, C, H, W)."""
    if images.dtype != np.uint8:
        way = {"f": "(255 * x).round().astype(np.uint8) if they are 0 to 1", "b": "255 * np.uint8(x)"}.get(
            images.dtype.kind, "np.uint8(x) if they are 0 to 255 already"
        )
        raise UserError(f"{where} is of {images.dtype}; images are uint8, 0 to 255: {way}")
    shape = images.shape
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4:
        first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
        if first and last:
            raise UserError(f"{where} has shape {shape}, where channels could be the second or the last axis; resize")
        images = np.moveaxis(images, 3, 1) if last else images
    if images.ndim != 4 or images.shape[1] not in CHANNELS or 0 in shape:
        raise UserError(f"{where} has shape {shape}; must be (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3")
    return np.ascontiguousarray(images)


def _whole(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(f"{where} has shape {labels.shape}; labels are (N,), one whole number an image")
    if labels.dtype.kind not in "iuf" or not (np.isfinite(labels).all() and (labels % 1 == 0).all()):
        raise UserError(f"{where} is of {labels.dtype}; labels are whole numbers from 0 on, and names go into classes")
    return labels.astype(np.int64)


def _classes(splits: Mapping[str, tuple[Pixels, Labels]], names: Any, where: str) -> tuple[str, ...]:
    """Return the names of the classes, by default their numbers. Raises UserError unless labels are 0 to K - 1."""
    every = np.concatenate([labels for _, labels in splits.values()])
    if every.min() < 0 or every.max() >= len(every):
        raise UserError(f"{where}: labels are {every.min()} to {every.max()}; they must be 0 to K - 1 for K classes")
    n = int(every.max()) + 1
    classes = tuple(map(str, range(n))) if names is None else _names(names, where)
    if len(classes) < n:
        raise UserError(f"{where}: has the label {n - 1}, but classes names only {len(classes)}")
    if len(classes) < 2:
        raise UserError(f"{where}: has one class; at least two are needed")
    for split, (_, found) in splits.items():
        missing = np.flatnonzero(np.bincount(found, minlength=len(classes)) == 0)
        if len(missing):
            several = ", ".join(classes[label] for label in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise UserError(
                f"{where}: the {'training' if split == 'train' else 'test'} set has no image of class {several}; "
                "labels are 0 to K - 1 for K classes, and both sets need all of them"
            )
    return classes


def _names(names: Any, where: str) -> tuple[str, ...]:
    array = np.asarray(names)
    if array.ndim != 1 or array.dtype.kind not in "Uiuf" or len(set(array.tolist())) < len(array):
        raise UserError(f"{where}: classes must be a list of different names, one for each label")
    return tuple(map(str, array.tolist()))


def _stratified(images: Pixels, labels: Labels, share: float) -> dict[str, tuple[Pixels, Labels]]:
    """Split off a test set with this share of each class, at least one image, drawn from a fixed seed."""
    draw, of_test = np.random.default_rng(SPLIT_SEED), np.zeros(len(labels), bool)
    for label in range(int(labels.max()) + 1):
        members = draw.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise UserError(f"data.test={share}: class {label} has one image; each set needs one")
        of_test[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return {"train": (images[~of_test], labels[~of_test]), "test": (images[of_test], labels[of_test])}
