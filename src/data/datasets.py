"""Data sets: downloaded if missing, checked, and loaded as arrays."""

import hashlib
import os
import shutil
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from src.data import idx
from src.errors import UserError, flat
from src.interrupts import raise_interrupts

TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
NAMES = ("auto", *TORCHVISION, "digits")
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
DOWNLOAD_TIMEOUT = 15.0  # seconds without data; torchvision itself has no timeout

# `Images.sha256` of MNIST as published.
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"


@dataclass(frozen=True)
class Images:
    """A data set in its official split: images (N, 28, 28), labels (N,), both uint8; labels 0 to 9."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]
    sha256: str = field(init=False)  # of the four arrays, in this order

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(np.ascontiguousarray(array).data)
        object.__setattr__(self, "sha256", digest.hexdigest())

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


def _folder(name: str, root: str) -> Path:
    return Path(root, TORCHVISION[name], "raw")


def _complete(folder: Path) -> bool:
    return all((folder / file).is_file() for file in FILES)


@cache
def choose(name: str, root: str) -> str:
    """Return the data set that `name` stands for: `auto` is mnist if available, else digits. Downloads missing files.

    Raises UserError if a data set other than `auto` is not available.
    """
    if name == "digits":
        return name
    asked_for = "mnist" if name == "auto" else name
    if not _complete(_folder(asked_for, root)):
        try:
            _download(asked_for, root)
        except UserError as error:
            if name != "auto":
                raise
            print(f"NOT MNIST but scikit-learn's digits, 1,500 small images: {error}", file=sys.stderr)
            return "digits"
    return asked_for


def _download(name: str, root: str) -> None:
    """Download through torchvision, which tries its mirrors and checks MD5 sums. Concurrent processes download once."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # torchvision's progress bars
    folder = _folder(name, root)
    partial = Path(root, f".{TORCHVISION[name]}.partial")
    lock = Path(f"{partial}.lock")
    timeout = socket.getdefaulttimeout()
    created = [path for path in (Path(root), *Path(root).parents) if not path.exists()]
    raise_interrupts()
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        lock.touch()  # raises if files cannot be created here; FileLock may then retry forever
        with FileLock(lock):
            if _complete(folder):
                return
            from torchvision import datasets  # takes seconds to import, and is seldom needed

            shutil.rmtree(partial, ignore_errors=True)  # left by a killed download
            socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
            try:
                getattr(datasets, TORCHVISION[name])(str(partial), download=True)
                folder.mkdir(parents=True, exist_ok=True)
                for file in FILES:
                    (partial / TORCHVISION[name] / "raw" / file).replace(folder / file)
            finally:
                socket.setdefaulttimeout(timeout)
                shutil.rmtree(partial, ignore_errors=True)
                if not _complete(folder):
                    lock.unlink(missing_ok=True)
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        raise UserError(
            f"data={name}: its files are not in {folder} and cannot be downloaded ({flat(error)}); put them there, "
            f"set data_root= or DATA_ROOT to the folder that contains {TORCHVISION[name]}/raw, or use data=digits"
        ) from error
    finally:
        for path in created:
            with suppress(OSError):  # not empty, or never created
                path.rmdir()


@cache
def load(name: str, root: str) -> Images:
    """Return the images of a data set that `choose` returned. Raises UserError that names the faulty file."""
    if name == "digits":
        return _digits()
    folder = _folder(name, root)
    arrays = []
    for images_file, labels_file in (FILES[:2], FILES[2:]):
        images, labels = idx.read(folder / images_file, 3), idx.read(folder / labels_file, 1)
        if images.shape[1:] != (28, 28) or len(images) == 0:
            raise UserError(f"{folder / images_file}: holds images of shape {images.shape}, not (N, 28, 28)")
        if len(labels) != len(images):
            raise UserError(f"{folder / labels_file}: holds {len(labels)} labels for {len(images)} images")
        if labels.max() > 9:
            raise UserError(f"{folder / labels_file}: holds the label {labels.max()}; labels are 0 to 9")
        arrays += [images, labels]
    loaded = Images(*arrays)
    if name == "mnist" and loaded.sha256 != MNIST_SHA256:
        print(f"{folder}: these are not the published MNIST files; do not compare results", file=sys.stderr)
    return loaded


def _digits() -> Images:
    """Return scikit-learn's digits: 1,797 images of 8 x 8 in 17 greys, the last 297 (other writers) as test set."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = bunch.images * (255 / 16)
    images = zoom(small, (1, 3.5, 3.5), order=1, grid_mode=True, mode="nearest").round().astype(np.uint8)
    labels = bunch.target.astype(np.uint8)
    return Images(images[:1500], labels[:1500], images[1500:], labels[1500:])
