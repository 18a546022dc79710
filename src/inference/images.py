"""Images to predict: files and folders, as the bytes that a network takes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.data.folder import DEEP, SUFFIXES, image_files, natural
from src.errors import UserError, flat

FLAT = 0.05  # brightness, of 0 to 1, by which border and whole must differ to tell light on dark from dark on light


def files(paths: Iterable[str]) -> Iterator[Path]:
    """Yield the given files, and the images in the given folders and below, by name. Raises UserError."""
    for path in map(Path, paths):
        if path.is_dir():
            found = list(image_files(path))
            if not found:
                raise UserError(f"{path}: holds no images ({', '.join(sorted(SUFFIXES))})")
            yield from sorted(found, key=lambda file: natural(str(file)))
        elif path.exists():
            yield path
        else:
            raise UserError(f"{path}: does not exist")


def read(file: Path, shape: tuple[int, int, int], resize: bool) -> NDArray[np.uint8]:
    """Return an image as bytes (C, H, W) of this shape. Raises UserError."""
    channels, height, width = shape
    try:
        with Image.open(file) as image:
            if image.mode in DEEP:
                raise UserError(f"{file}: has more than 8 bits a pixel; convert it to 8")
            pixels: Image.Image = image.convert("L" if channels == 1 else "RGB")
    except UserError:
        raise
    except Exception as error:  # a damaged image can raise anything
        raise UserError(f"{file}: cannot be read as an image ({flat(error)})") from error
    if pixels.size != (width, height):
        if not resize:
            found = f"{pixels.size[1]} x {pixels.size[0]}"
            raise UserError(f"{file}: is of {found} pixels, not {height} x {width}; resize=true resizes all images")
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(pixels)
    return array[None] if channels == 1 else np.moveaxis(array, 2, 0)


def contrast(light: dict[str, float]) -> int:
    """Return 1 for light on dark, -1 for dark on light, 0 if there is no telling."""
    difference = light["whole"] - light["border"]
    return 0 if abs(difference) < FLAT else 1 if difference > 0 else -1
