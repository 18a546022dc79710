"""The IDX format of MNIST and similar data sets (LeCun, Cortes & Burges)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError
from src.files import irregular

UNSIGNED_BYTE = 0x08


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array of unsigned bytes in an IDX file with `dimensions` dimensions. Raises UserError.

    Header, big-endian: two zero bytes, the type, the number of dimensions, then each dimension in 32 bits.
    """
    if what := irregular(path):
        raise UserError(f"{path}: is {what}; put the original file there")
    content = np.fromfile(path, np.uint8)
    remedy = f"delete it to download the data set again, or put the original file in {path.parent}"
    magic = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise UserError(f"{path}: truncated: {len(content)} bytes, but its header alone takes {header}; {remedy}")
    if content[:4].tobytes() != magic:
        raise UserError(f"{path}: wrong magic number 0x{content[:4].tobytes().hex()}, not 0x{magic.hex()}; {remedy}")
    shape = tuple(int(size) for size in content[4:header].view(">u4"))
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise UserError(f"{path}: {what}: {len(content)} bytes, but its header says {expected}; {remedy}")
    return content[header:].reshape(shape)
