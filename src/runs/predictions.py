"""What a network takes each test image for, and what it is, as a file of numpy's."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.runs.atomic import Damaged, read_file

CLASSES = 10
LONGEST_HEADER = 10_000  # bytes; numpy's own are 128


def serialised(predictions: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """Both (N,), as the file holds them: one array (2, N)."""
    content = io.BytesIO()
    np.save(content, np.stack([predictions, labels]), allow_pickle=False)
    return content.getvalue()


def read(path: Path, images: int) -> NDArray[np.uint8] | None:
    """Predictions and labels (2, images); None without a file. Raises Damaged.

    `np.load` would wait for a FIFO, and allocate whatever a header claims.
    """
    try:
        content = io.BytesIO(read_file(path, largest=2 * images + LONGEST_HEADER))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(str(error.strerror)) from None
    try:
        version, header = np.lib.format.read_magic(content), np.lib.format.read_array_header_1_0(content)
    except Exception:  # whatever a damaged header makes its parser raise
        raise Damaged("no array of numpy's") from None
    if version != (1, 0) or header != ((2, images), False, np.dtype(np.uint8)):
        shape, _, dtype = header
        raise Damaged(f"an array {shape} of {dtype}, not {(2, images)} of uint8")
    found = np.frombuffer(content.read(), np.uint8)
    if len(found) != 2 * images:
        raise Damaged(f"holds {len(found)} of {2 * images} numbers")
    if found.max(initial=0) >= CLASSES:
        raise Damaged(f"holds {found.max()}, which is none of the {CLASSES} classes")
    return found.reshape(2, images)
