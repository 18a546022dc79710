"""Images in folders, `train/<class>/*.png` and `test/<class>/*.png`, as torchvision's ImageFolder expects them."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from src.data.arrays import check_memory, existing
from src.errors import UserError, flat

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}  # as in torchvision
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")  # Pillow's modes of more than 8 bits
CHUNK = 256  # images that a thread reads at a time
LARGE = 10_000  # bytes of a file from which on threads read faster than one
VERSION = 1  # of the cache; increase it when the same files give other arrays


class Folder:
    """The images below a folder; their order is that of the file names, numbers by value, then of the classes.

    `size` resizes images to a square of so many pixels, with antialiasing; `grey` converts colours. The arrays are
    cached in `data_root`, by the files' names, sizes and times. Raises UserError.
    """

    def __init__(self, path: str, data_root: str, size: int | None = None, grey: bool = False) -> None:
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise UserError(f"data.size={size}: must be a whole number of pixels, 1 or more; try data.size=32")
        if not isinstance(grey, bool):
            raise UserError(f"data.grey={grey}: must be true or false")
        self.path, self.size, self.grey = existing(path), size, grey
        self.caches = Path(data_root, ".images")

    def arrays(self) -> Mapping[str, Any]:
        splits = {name: self._listed(name) for name in ("train", "test") if name == "train" or self._has(name)}
        classes = sorted({file.parent.name for file in splits["train"]})
        if "test" in splits and classes != (others := sorted({file.parent.name for file in splits["test"]})):
            differing = ", ".join(sorted(set(classes) ^ set(others)))
            raise UserError(f"{self.path}: train and test differ in their classes; only one of them has {differing}")
        cache = self.caches / f"{self._key(splits)}.npz"
        if (cached := _read(cache)) is not None:
            return cached
        try:
            self.caches.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{cache}.lock"):  # one process reads the folder, the others its result
                if (cached := _read(cache)) is None:
                    cached = self._decoded(splits, classes)
                    _write(cache, cached)
            return cached
        except OSError as error:  # a cache is a convenience
            print(f"{cache}: cannot be written ({flat(error)}); {self.path} is read every time", file=sys.stderr)
            return self._decoded(splits, classes)

    def _has(self, split: str) -> bool:
        return (self.path / split).is_dir()

    def _listed(self, split: str) -> list[Path]:
        """Return the image files of a split."""
        folder = self.path / split
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; it must hold a folder of images for each class")
        found: list[tuple[list[Any], Path]] = []
        folders = sorted(entry for entry in folder.iterdir() if entry.is_dir())
        if hidden := [entry.name for entry in folders if entry.name.startswith(".")]:
            print(f"{folder}: skipped {', '.join(hidden)}", file=sys.stderr)
        for of_class in folders:
            if of_class.name not in hidden:
                names = [entry.name for entry in os.scandir(of_class) if not entry.name.startswith(".")]
                files = [of_class / name for name in names if Path(name).suffix.lower() in SUFFIXES]
                if not files:
                    raise UserError(f"{of_class}: holds no images ({', '.join(sorted(SUFFIXES))})")
                found += [(natural(file.name), file) for file in files]
        if not found:
            raise UserError(f"{folder}: holds no folders; it must hold a folder of images for each class")
        return [file for _, file in sorted(found)]

    def _key(self, splits: Mapping[str, list[Path]]) -> str:
        digest = hashlib.sha256(json.dumps([VERSION, str(self.path.resolve()), self.size, self.grey]).encode())
        for files in splits.values():
            for file in files:
                stat = file.stat()
                digest.update(os.fsencode(f"{file.relative_to(self.path)}\0{stat.st_size}\0{stat.st_mtime_ns}\0"))
        return digest.hexdigest()[:16]

    def _decoded(self, splits: Mapping[str, list[Path]], classes: list[str]) -> dict[str, Any]:
        files = [file for of_split in splits.values() for file in of_split]
        images = self._read_all(files)
        numbers = {name: number for number, name in enumerate(classes)}
        labels = np.array([numbers[file.parent.name] for file in files])
        arrays: dict[str, Any] = {"classes": np.array(classes)}
        first = 0
        for name, of_split in splits.items():
            last = first + len(of_split)
            arrays |= {f"x_{name}": images[first:last], f"y_{name}": labels[first:last]}
            first = last
        return arrays

    def _read_all(self, files: list[Path]) -> NDArray[np.uint8]:
        """Return all images, (N, H, W, C)."""
        console = Console(file=sys.stderr, markup=False, highlight=False)
        what = f"reading {len(files):,} images of {self.path}"
        if not console.is_terminal:
            console.print(what, soft_wrap=True)
        chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
        read: list[NDArray[np.uint8] | UserError] = []
        # Decoding a small image takes less time than switching threads.
        large = sum(file.stat().st_size for file in files[:CHUNK]) > LARGE * len(files[:CHUNK])
        with ThreadPoolExecutor(None if large else 1) as threads:
            parts = threads.map(self._read_some, chunks)
            for part in track(
                parts, what, len(chunks), console=console, transient=True, disable=not console.is_terminal
            ):
                read += part
                if len(read) <= CHUNK and not isinstance(first := read[0], UserError):
                    check_memory(first.nbytes * len(files), str(self.path))
        if wrong := [each for each in read if isinstance(each, UserError)]:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise UserError(f"{wrong[0]}{more}")
        images = [each for each in read if not isinstance(each, UserError)]
        for file, image in zip(files, images, strict=True):
            if image.shape[:2] != images[0].shape[:2]:
                one, other = ("x".join(map(str, each.shape[:2])) for each in (images[0], image))
                raise UserError(
                    f"{file}: is of {other} pixels, and {files[0]} of {one}; data.size=32 resizes all images"
                )
        if any(image.shape[2] == 3 for image in images):  # a grey image among coloured ones
            images = [np.broadcast_to(image, (*image.shape[:2], 3)) for image in images]
        return np.stack(images)

    def _read_some(self, files: list[Path]) -> list[NDArray[np.uint8] | UserError]:
        return [self._image(file) for file in files]

    def _image(self, file: Path) -> NDArray[np.uint8] | UserError:
        """Return an image (H, W, C), or the error."""
        try:
            with Image.open(file) as image:
                if image.mode in DEEP:
                    return UserError(f"{file}: has more than 8 bits a pixel; convert it to 8")
                mode = "L" if self.grey or image.mode in ("1", "L", "LA") else "RGB"
                image.load()
                pixels: Image.Image = image if image.mode == mode else image.convert(mode)
            if self.size is not None and pixels.size != (self.size, self.size):
                pixels = pixels.resize((self.size, self.size), Image.Resampling.BILINEAR)
            array = np.asarray(pixels)
            return array[..., None] if mode == "L" else array
        except Exception as error:  # a damaged image can raise anything
            return UserError(f"{file}: cannot be read as an image ({flat(error)}); repair or remove it")


def natural(name: str) -> list[Any]:
    """Return a sort key by which 2.png precedes 10.png."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _read(cache: Path) -> dict[str, Any] | None:
    """Return the cached arrays; None if there are none or the file is damaged."""
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)  # the zip format's checksums are verified
    except Exception:  # a damaged file can raise anything
        return None


def _write(cache: Path, arrays: Mapping[str, Any]) -> None:
    partial = cache.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(cache)
