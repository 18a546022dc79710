"""Arrays, images and configurations that somebody sent: one line for each, no code is run, nothing is left behind."""

import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.arrays import Npz, images_of
from src.errors import UserError
from src.inference import images as image_files
from tests.data.test_arrays import ERRORS, given_arrays
from tests.hostile.test_commands import PNG, Trip
from tests.hostile.test_hangs import WITHIN

GREY = Image.new("L", (28, 28), 7)


def objects(file: Path, trip: Path) -> None:
    """Write an archive with an array of objects, which are pickled."""
    np.savez(file, allow_pickle=True, x_train=np.array([Trip(trip)], object), y_train=np.zeros(1, int))


def member(file: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def header(text: bytes) -> Callable[[Path, Path], object]:
    """Return a function that writes an archive whose array has this in its header."""
    content = b"\x93NUMPY\x01\x00\x76\x00{'descr':" + text + b"}"
    return lambda file, trip: member(file, "x_train.npy", content.ljust(128) + b"\n")


def cut_archive(file: Path, trip: Path) -> None:
    np.savez(file, **given_arrays())
    os.truncate(file, file.stat().st_size // 2)


def cut_image(file: Path, trip: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)).save(file)
    os.truncate(file, 400)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch x) (w) file\n"
ARCHIVES: dict[str, Callable[[Path, Path], object]] = {
    "objects": objects,
    "a pickle": lambda file, trip: file.write_bytes(pickle.dumps(Trip(trip))),
    "a pickle within": lambda file, trip: member(file, "x_train.npy", pickle.dumps(Trip(trip))),
    "a path outside": lambda file, trip: member(file, "../../x_train.npy", b"\x93NUMPY"),
    "a bomb": lambda file, trip: member(file, "x_train.npy", b"\0" * 2**26),
    "a header that lies": header(b"'|u1','fortran_order':False,'shape':(10**15,28,28)"),
    "a header that computes": header(b"__import__('os').system('true'),'shape':()"),
    "cut": cut_archive,
    "empty": lambda file, trip: file.touch(),
    "text": lambda file, trip: file.write_text("x_train"),
    "a FIFO": lambda file, trip: os.mkfifo(file),
    "a folder": lambda file, trip: file.mkdir(),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*ARCHIVES, *ERRORS])
def test_an_archive_is_one_line(kind: str, tmp_path: Path) -> None:
    file, trip, began = tmp_path / "their.npz", tmp_path / "tripped", time.monotonic()
    if kind in ARCHIVES:
        ARCHIVES[kind](file, trip)
    else:
        np.savez(file, **given_arrays(**ERRORS[kind][0]))
    with pytest.raises(UserError) as raised:
        images_of(Npz(str(file)).arrays(), str(file), 0)
    assert "\n" not in str(raised.value)
    assert str(file) in str(raised.value)
    assert not trip.exists()
    assert time.monotonic() - began < WITHIN
    assert list(tmp_path.iterdir()) == [file]


def several(file: Path, trip: Path) -> None:
    GREY.save(file, format="GIF", save_all=True, append_images=[GREY] * 3)


IMAGES: dict[str, Callable[[Path, Path], object]] = {
    "a bomb": lambda file, trip: file.write_bytes(PNG + b"\x00\x00\x00\x00\x00\x00\x00"),
    "cut": cut_image,
    "empty": lambda file, trip: file.touch(),
    "text": lambda file, trip: file.write_text("no image"),
    "a script": lambda file, trip: file.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"),
    "PostScript": lambda file, trip: file.write_bytes(POSTSCRIPT),
    "a pickle": lambda file, trip: file.write_bytes(pickle.dumps(Trip(trip))),
    "16 bits": lambda file, trip: Image.new("I;16", (28, 28)).save(file),
    "floats": lambda file, trip: Image.new("F", (28, 28)).save(file, format="TIFF"),
    "a FIFO": lambda file, trip: os.mkfifo(file),
    "a device": lambda file, trip: file.symlink_to("/dev/zero"),
    "a link to itself": lambda file, trip: file.symlink_to(file),
    "a folder": lambda file, trip: file.mkdir(),
    "another size": lambda file, trip: Image.new("L", (9, 9)).save(file),
}  # fmt: skip
READABLE: dict[str, Callable[[Path, Path], object]] = {
    "several frames": several,
    "a palette": lambda file, trip: GREY.convert("P").save(file),
    "CMYK": lambda file, trip: Image.new("CMYK", (28, 28)).save(file, format="JPEG"),
    "one bit": lambda file, trip: Image.new("1", (28, 28)).save(file),
}


@pytest.mark.parametrize("kind", [*IMAGES, *READABLE])
def test_an_image_is_one_line_or_read(kind: str, tmp_path: Path) -> None:
    file, trip, began = tmp_path / "their.png", tmp_path / "tripped", time.monotonic()
    (IMAGES | READABLE)[kind](file, trip)
    if kind in READABLE:
        assert image_files.read(file, (1, 28, 28), resize=False).shape == (1, 28, 28)
    else:
        with pytest.raises(UserError) as raised:
            image_files.read(file, (1, 28, 28), resize=False)
        assert "\n" not in str(raised.value)
        assert str(file) in str(raised.value)
    assert not trip.exists()
    assert time.monotonic() - began < WITHIN
    assert list(tmp_path.iterdir()) == [file]
