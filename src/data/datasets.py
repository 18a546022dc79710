"""Data sets by name: downloaded if missing, checked, and loaded as arrays."""

import sys
from functools import cache
from pathlib import Path

import numpy as np

from src.data.download import complete, download
from src.data.images import Images
from src.data.published import PUBLISHED
from src.errors import UserError

NAMES = ("auto", *PUBLISHED, "digits")

# `Images.sha256` of MNIST as published.
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"


@cache
def choose(name: str, root: str) -> str:
    """Return the data set that `name` stands for: `auto` is mnist if available, else digits. Downloads missing files.

    Raises UserError if a data set other than `auto` is not available.
    """
    if name == "digits":
        return name
    asked_for = "mnist" if name == "auto" else name
    published = PUBLISHED[asked_for]
    if not complete(Path(root), published.files):
        try:
            download(asked_for, Path(root), published.files, published.fetch)
        except UserError as error:
            if name != "auto":
                raise
            print(f"NOT MNIST but scikit-learn's digits, 1,500 small images: {error}", file=sys.stderr)
            return "digits"
    return asked_for


@cache
def load(name: str, root: str) -> Images:
    """Return the images of a data set that `choose` returned. Raises UserError that names the faulty file."""
    if name == "digits":
        return _digits()
    loaded = PUBLISHED[name].read(Path(root))
    if name == "mnist" and loaded.sha256 != MNIST_SHA256:
        folder = Path(root, "MNIST", "raw")
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
