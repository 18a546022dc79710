import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from src.files import Damaged
from src.runs.predictions import read, serialised

IMAGES = 100


def saved(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def zipped() -> bytes:
    content = io.BytesIO()
    np.savez(content, np.zeros((2, IMAGES), np.uint8))
    return content.getvalue()


def headed(header: str, rest: bytes = b"") -> bytes:
    """Return a .npy file with this header, not necessarily followed by the data that it declares."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + rest


def of_shape(shape: str, dtype: str = "|u1") -> bytes:
    return headed(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}", bytes(2 * IMAGES))


WHOLE = saved(np.zeros((2, IMAGES), np.uint8))
DAMAGED: dict[str, bytes | Callable[[Path], object]] = {
    "empty": b"",
    "text": b"no array",
    "npz": zipped(),
    "pickled objects": saved(np.zeros((2, IMAGES), object)),
    "floats": saved(np.zeros((2, IMAGES), np.float32)),
    "signed": saved(np.zeros((2, IMAGES), np.int8)),
    "big integers": saved(np.zeros((2, IMAGES), ">i8")),
    "fewer images": saved(np.zeros((2, IMAGES - 1), np.uint8)),
    "more images": saved(np.zeros((2, IMAGES + 1), np.uint8)),
    "one row": saved(np.zeros((1, 2 * IMAGES), np.uint8)),
    "one dimension": saved(np.zeros(2 * IMAGES, np.uint8)),
    "transposed": saved(np.zeros((IMAGES, 2), np.uint8)),
    "columns first": saved(np.asfortranarray(np.zeros((2, IMAGES), np.uint8))),
    "no dimensions": saved(np.zeros((), np.uint8)),
    "a class that is none": saved(np.full((2, IMAGES), 10, np.uint8)),
    "truncated numbers": WHOLE[:-1],
    "truncated header": WHOLE[:40],
    "longer than its header says": WHOLE + b"\x00",
    "very long": WHOLE + bytes(1_000_000),
    "terabytes claimed": of_shape("(2, 1000000000000)"),
    "more claimed than there are addresses": of_shape(f"({2**70}, {2**70})"),
    "negative shape": of_shape("(2, -1)"),
    "no shape": of_shape("None"),
    "another version": b"\x93NUMPY\x02\x00" + WHOLE[8:],
    "no version": b"\x93NUMPY\xff\xff" + WHOLE[8:],
    "nested brackets": headed("(" * 9000),
    "code": headed("__import__('os').abort()"),
    "folder": Path.mkdir,
    "FIFO": os.mkfifo,
    "symlink to a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_rejected_with_the_reason(damage: str, tmp_path: Path) -> None:
    path, how = tmp_path / "predictions.npy", DAMAGED[damage]
    if isinstance(how, bytes):
        path.write_bytes(how)
    else:
        how(path)
    with pytest.raises(Damaged, match=r"regular file|larger than|array|holds"):
        read(path, IMAGES, 10)


def test_written_predictions_are_read(tmp_path: Path) -> None:
    predictions, labels = np.random.default_rng(0).integers(0, 10, (2, IMAGES)).astype(np.uint8)
    path = tmp_path / "predictions.npy"
    assert read(path, IMAGES, 10) is None
    path.write_bytes(serialised(predictions, labels, 10))
    found = read(path, IMAGES, 10)
    assert found is not None
    np.testing.assert_array_equal(found, [predictions, labels])
