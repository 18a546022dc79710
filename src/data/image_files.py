"""Image files: found in folders, and read as grey or coloured bytes."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.data.images import Pixels
from src.errors import UserError, flat
from src.files import irregular

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # as in torchvision
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")  # Pillow's modes of more than 8 bits
GREY = ("1", "L", "LA")  # Pillow's modes without colours
SHOWN = 3  # folders that an error names


def read(file: Path, grey: bool | None = None) -> Image.Image:
    """Return an image in Pillow's mode L or RGB; without `grey`, in L if the file has no colours. Raises UserError."""
    if what := irregular(file):
        raise UserError(f"{file}: is {what}, not an image; remove it, or name a file")
    try:
        with Image.open(file) as image:
            if image.mode in DEEP:
                raise UserError(f"{file}: has more than 8 bits a pixel; convert it to 8")
            mode = "L" if grey or (grey is None and image.mode in GREY) else "RGB"
            image.load()
            return image if image.mode == mode else image.convert(mode)
    except UserError:
        raise
    except Exception as error:  # a damaged image can raise anything
        raise UserError(f"{file}: cannot be read as an image ({flat(error)}); repair or remove it") from error


def pixels(image: Image.Image) -> Pixels:
    """Return the bytes (C, H, W) of an image in mode L or RGB."""
    array = np.asarray(image)
    return array[None] if image.mode == "L" else np.moveaxis(array, 2, 0)


def natural(name: str) -> list[Any]:
    """Return a sort key by which 2.png precedes 10.png."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def below(folders: Sequence[Path]) -> dict[Path, list[Path]]:
    """Return the images below each of the folders, except hidden ones.

    Linked folders are followed, each once. Raises UserError if a folder on the way cannot be read, since its images
    would be missing without notice.
    """
    found: dict[Path, list[Path]] = {folder: [] for folder in folders}
    unreadable: list[OSError] = []
    for folder, images in found.items():
        seen: set[str] = set()
        for place, inner, names in os.walk(folder, onerror=unreadable.append, followlinks=True):
            if (real := os.path.realpath(place)) in seen:  # a link in a circle
                inner.clear()
                continue
            seen.add(real)
            inner[:] = [name for name in inner if not name.startswith(".")]
            visible = (name for name in names if not name.startswith("."))
            images += [Path(place, name) for name in visible if Path(name).suffix.lower() in SUFFIXES]
    if unreadable:
        raise UserError(_unreadable(sorted({f"{error.filename} ({error.strerror})" for error in unreadable})))
    return found


def _unreadable(folders: Sequence[str]) -> str:
    more = f" and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
    several = len(folders) > 1
    what, its, it = ("these folders", "their", "them") if several else ("this folder", "its", "it")
    return (
        f"{', '.join(folders[:SHOWN])}{more}: {what} cannot be read, so {its} images would be missing; make {it} "
        f"readable with chmod u+rx, or move {it} elsewhere"
    )
