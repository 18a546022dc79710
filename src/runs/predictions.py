"""Predicted and true label of every test image, as a NumPy file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.images import label_type
from src.files import Damaged, read_file

LONGEST_HEADER = 10_000  # bytes; numpy's own are 128


def serialised(predictions: NDArray[Any], labels: NDArray[Any], classes: int) -> bytes:
    """Return the bytes of the file: predictions and labels, each (N,), as one array (2, N) of `label_type(classes)`."""
    content = io.BytesIO()
    np.save(content, np.stack([predictions, labels]).astype(label_type(classes)), allow_pickle=False)
    return content.getvalue()


def read(path: Path, images: int, classes: int) -> NDArray[Any] | None:
    """Return predictions and labels (2, images); None without a file. Raises Damaged.

    `np.load` would block on a FIFO, and allocate whatever size a header claims.
    """
    dtype = np.dtype(label_type(classes))
    size = 2 * images * dtype.itemsize
    try:
        content = io.BytesIO(read_file(path, largest=size + LONGEST_HEADER))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(str(error.strerror)) from None
    try:
        version, header = np.lib.format.read_magic(content), np.lib.format.read_array_header_1_0(content)
    except Exception:  # a damaged header can raise anything
        raise Damaged("not a NumPy array") from None
    if version != (1, 0) or header != ((2, images), False, dtype):
        shape, _, found_type = header
        raise Damaged(f"an array {shape} of {found_type}, not {(2, images)} of {dtype}")
    numbers = content.read()
    if len(numbers) != size:
        raise Damaged(f"holds {len(numbers) // dtype.itemsize} of {2 * images} numbers")
    found = np.frombuffer(numbers, dtype)
    if not 0 <= found.min(initial=0) <= found.max(initial=0) < classes:
        raise Damaged(f"holds class {found.max()}; classes are 0 to {classes - 1}")
    return found.reshape(2, images)
