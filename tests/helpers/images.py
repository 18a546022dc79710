"""Small data sets in MNIST's file format."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


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


def write_mnist(root: Path, train: int = 300, test: int = 80, name: str = "MNIST") -> Path:
    """Create a data root with a small data set in MNIST's files."""
    for split, n, seed in (("train", train, 1), ("t10k", test, 2)):
        images, labels = bars(n, seed)
        write_idx(root / name / "raw" / f"{split}-images-idx3-ubyte", images)
        write_idx(root / name / "raw" / f"{split}-labels-idx1-ubyte", labels)
    return root
