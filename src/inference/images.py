"""Images to predict: files and folders, as the bytes that a network takes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.data import image_files
from src.errors import UserError

FLAT = 0.05  # brightness, of 0 to 1, by which border and whole must differ to tell light on dark from dark on light


def files(paths: Iterable[str]) -> Iterator[Path]:
    """Yield the given files, and the images in the given folders and below, by name. Raises UserError."""
    given = [*map(Path, paths)]
    below = image_files.below([path for path in given if path.is_dir()])
    for path in given:
        if path in below:
            if not below[path]:
                raise UserError(f"{path}: holds no images ({', '.join(sorted(image_files.SUFFIXES))})")
            yield from sorted(below[path], key=lambda file: image_files.natural(str(file)))
        elif path.exists():
            yield path
        else:
            raise UserError(f"{path}: does not exist")


def read(file: Path, shape: tuple[int, int, int], resize: bool) -> NDArray[np.uint8]:
    """Return an image as bytes (C, H, W) of this shape. Raises UserError."""
    channels, height, width = shape
    image = image_files.read(file, grey=channels == 1)
    if image.size != (width, height):
        if not resize:
            found = f"{image.size[1]} x {image.size[0]}"
            raise UserError(f"{file}: is of {found} pixels, not {height} x {width}; resize=true resizes all images")
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image_files.pixels(image)


def contrast(light: dict[str, float]) -> int:
    """Return 1 for light on dark, -1 for dark on light, 0 if there is no telling."""
    difference = light["whole"] - light["border"]
    return 0 if abs(difference) < FLAT else 1 if difference > 0 else -1
