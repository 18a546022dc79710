"""Predicted and true label of every test image, as a NumPy file."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.runs.atomic import Damaged, read_file

CLASSES = 10
LONGEST_HEADER = 10_000  # bytes; numpy's own are 128


def serialised(predictions: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """Return the bytes of the file: predictions and labels, each (N,), as one array (2, N)."""
    content = io.BytesIO()
    np.save(content, np.stack([predictions, labels]), allow_pickle=False)
    return content.getvalue()


def read(path: Path, images: int) -> NDArray[np.uint8] | None:
    """Return predictions and labels (2, images); None without a file. Raises Damaged.

    `np.load` would block on a FIFO, and allocate whatever size a header claims.
    """
    try:
        content = io.BytesIO(read_file(path, largest=2 * images + LONGEST_HEADER))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(str(error.strerror)) from None
    try:
        version, header = np.lib.format.read_magic(content), np.lib.format.read_array_header_1_0(content)
    except Exception:  # a damaged header can raise anything
        raise Damaged("not a NumPy array") from None
    if version != (1, 0) or header != ((2, images), False, np.dtype(np.uint8)):
        shape, _, dtype = header
        raise Damaged(f"an array {shape} of {dtype}, not {(2, images)} of uint8")
    found = np.frombuffer(content.read(), np.uint8)
    if len(found) != 2 * images:
        raise Damaged(f"holds {len(found)} of {2 * images} numbers")
    if found.max(initial=0) >= CLASSES:
        raise Damaged(f"holds class {found.max()}; classes are 0 to {CLASSES - 1}")
    return found.reshape(2, images)
