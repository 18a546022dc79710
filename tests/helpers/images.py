"""Small data sets in MNIST's file format."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NAMES = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]  # of classes
Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # images and labels


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an IDX file after the format's description: big-endian, type 8, dimensions, sizes, bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def bars(n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (n, 28, 28) of a bright bar in noise and labels (n,): the bar's row, learnt in a few updates."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n).astype(np.uint8)
    images = rng.integers(0, 120, (n, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label : 4 + 2 * label, 4:24] = 220
    return images, labels


def write_pngs(path: Path, train: Split, test: Split) -> Path:
    """Write images (N, H, W) or (N, H, W, C) as `path/<split>/<label>/<number>.png`."""
    for name, (images, labels) in (("train", train), ("test", test)):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = path / name / str(label) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    return path


def write_npz(file: Path, shape: Sequence[int] = (28, 28), classes: Sequence[str] = NAMES) -> Path:
    """Write 280 training and 70 test images whose brightness tells their class."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {"classes": np.array(classes)}
    for name, n in (("train", 280), ("test", 70)):
        labels = np.arange(n) % len(classes)
        bright = (labels * (200 // len(classes))).reshape(-1, *(1 for _ in shape))
        arrays |= {f"x_{name}": (bright + draw.integers(0, 40, (n, *shape))).astype(np.uint8), f"y_{name}": labels}
    np.savez(file, **arrays)
    return file


def write_mnist(root: Path, train: int = 300, test: int = 80, name: str = "MNIST") -> Path:
    """Create a data root with a small data set in MNIST's files."""
    for split, n, seed in (("train", train, 1), ("t10k", test, 2)):
        images, labels = bars(n, seed)
        write_idx(root / name / "raw" / f"{split}-images-idx3-ubyte", images)
        write_idx(root / name / "raw" / f"{split}-labels-idx1-ubyte", labels)
    return root
