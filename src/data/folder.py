"""Images in folders, `train/<class>/*.png` and `test/<class>/*.png`, as torchvision's ImageFolder expects them."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from src.data import image_files
from src.data.arrays import check_memory, existing
from src.data.images import Pixels
from src.errors import UserError, flat, visible
from src.files import irregular

CHUNK = 1024  # images that are read ahead
LARGE = 10_000  # bytes of a file from which on threads read faster than one
Listed = tuple[Path, str]  # a file and its class
VERSION = 2  # of the cache; increase it when the same files give other arrays, or the cache another form


class Folder:
    """The images below a folder; their order is that of the file names, numbers by value, then of the classes.

    `size` resizes images to a square of so many pixels, with antialiasing; `grey` converts colours. The arrays are
    cached in `data_root` until a file is changed, renamed or replaced. Raises UserError.
    """

    def __init__(self, path: str, data_root: str, size: int | None = None, grey: bool = False) -> None:
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise UserError(f"data.size={size}: must be a whole number of pixels, 1 or more; try data.size=32")
        if not isinstance(grey, bool):
            raise UserError(f"data.grey={grey}: must be true or false")
        self.path, self.size, self.grey = existing(path), size, grey
        self.caches = Path(data_root, ".images")

    def arrays(self) -> Mapping[str, Any]:
        splits = {"train": self._listed("train")}
        if (self.path / "test").is_dir():
            splits["test"] = self._listed("test")
        classes, *others = ({name for _, name in files} for files in splits.values())
        if others and classes != others[0]:
            differing = ", ".join(map(visible, sorted(classes ^ others[0])))
            raise UserError(f"{self.path}: train and test differ in their classes; only one of them has {differing}")
        if len(classes) < 2:
            raise UserError(f"{self.path}: has one class, {visible(*classes)}; at least two are needed")
        identity = json.dumps([VERSION, str(self.path.resolve()), self.size, self.grey]).encode()
        cache = self.caches / f"{hashlib.sha256(identity).hexdigest()[:16]}.npz"
        key = self._key(splits)
        if (cached := _read(cache, key)) is None:
            with suppress(OSError):
                self.caches.mkdir(parents=True, exist_ok=True)
            # One process reads the folder, the others its result.
            with FileLock(f"{cache}.lock") if os.access(self.caches, os.W_OK) else nullcontext():
                if (cached := _read(cache, key)) is None:
                    cached = self._decoded(splits, sorted(classes))
                    keyed = cached | {"key": np.array(key)}
                    self._write(cache, keyed | {"sha256": np.array(_sha256(keyed))})
        return cached

    def _listed(self, split: str) -> list[Listed]:
        """Return the image files of a split and their classes."""
        folder = self.path / split
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; it must hold a folder of images for each class")
        found: list[tuple[list[Any], Listed]] = []
        visible = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        for of_class, files in image_files.below(sorted(visible)).items():
            if not files:
                raise UserError(f"{of_class}: holds no images ({', '.join(sorted(image_files.SUFFIXES))})")
            natural = image_files.natural
            found += [(natural(str(file.relative_to(of_class))), (file, of_class.name)) for file in files]
        if not found:
            raise UserError(f"{folder}: holds no folders; it must hold a folder of images for each class")
        return [file for _, file in sorted(found)]

    def _key(self, splits: Mapping[str, list[Listed]]) -> str:
        """Return a hash of what tells that a file is the same as before.

        Two files may exchange their names and keep sizes and times of modification; their inodes tell it, and the times
        at which these changed.
        """
        digest = hashlib.sha256()
        for files in splits.values():
            for file, _ in files:
                at = file.stat()
                facts = at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino
                digest.update(os.fsencode(f"{file.relative_to(self.path)}\0{facts}\0"))
        return digest.hexdigest()

    def _decoded(self, splits: Mapping[str, list[Listed]], classes: list[str]) -> dict[str, Any]:
        for split in splits:
            if hidden := sorted(each.name for each in (self.path / split).glob(".*") if each.is_dir()):
                print(f"{self.path / split}: skipped {', '.join(map(visible, hidden))}", file=sys.stderr)
        files = [file for of_split in splits.values() for file in of_split]
        images = self._read_all([file for file, _ in files])
        numbers = {name: number for number, name in enumerate(classes)}
        labels = np.array([numbers[name] for _, name in files])
        arrays: dict[str, Any] = {"classes": np.array([visible(name) for name in classes])}
        first = 0
        for name, of_split in splits.items():
            last = first + len(of_split)
            arrays |= {f"x_{name}": images[first:last], f"y_{name}": labels[first:last]}
            first = last
        return arrays

    def _read_all(self, files: list[Path]) -> Pixels:
        """Return all images, (N, C, H, W)."""
        console = Console(file=sys.stderr, markup=False, highlight=False)
        what = f"reading {len(files):,} images of {self.path}"
        if not console.is_terminal:
            console.print(what, soft_wrap=True)
        images: Pixels | None = None
        wrong: list[UserError] = []
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(what, total=len(files))
            for file, image in self._each(files):
                bar.advance(task)
                if isinstance(image, UserError):
                    wrong.append(image)
                    continue
                if images is None:
                    check_memory(image.nbytes * len(files), str(self.path))
                    images, first = np.zeros((len(files), *image.shape), np.uint8), file
                    at = iter(range(len(files)))
                if image.shape[1:] != images.shape[2:]:
                    one, other = ("x".join(map(str, shape)) for shape in (images.shape[2:], image.shape[1:]))
                    raise UserError(
                        f"{file}: is of {other} pixels, and {first} of {one}; data.size=32 resizes all images"
                    )
                if image.shape[0] > images.shape[1]:  # a coloured image after grey ones
                    check_memory(image.nbytes * len(files), str(self.path))
                    images = np.repeat(images, 3, axis=1)
                images[next(at)] = image
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise UserError(f"{wrong[0]}{more}")
        assert images is not None
        return images

    def _each(self, files: list[Path]) -> Iterator[tuple[Path, Pixels | UserError]]:
        """Yield each file with its image or the error, in order; a bounded number is read ahead."""
        # Decoding a small image takes less time than switching threads.
        large = sum(file.stat().st_size for file in files[:CHUNK]) > LARGE * len(files[:CHUNK])
        with ThreadPoolExecutor(None if large else 1) as threads:
            for start in range(0, len(files), CHUNK):
                some = files[start : start + CHUNK]
                parts = [some[first : first + CHUNK // 16] for first in range(0, len(some), CHUNK // 16)]
                yield from zip(
                    some, (each for part in threads.map(self._read_some, parts) for each in part), strict=True
                )

    def _write(self, cache: Path, arrays: Mapping[str, Any]) -> None:
        """Write the cache; it is a convenience, so that a failure is only told."""
        partial = cache.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, **arrays)
            partial.replace(cache)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            print(f"{cache}: cannot be written ({flat(error)}); {self.path} is read every time", file=sys.stderr)

    def _read_some(self, files: list[Path]) -> list[Pixels | UserError]:
        return [self._image(file) for file in files]

    def _image(self, file: Path) -> Pixels | UserError:
        """Return an image (C, H, W), or the error."""
        try:
            image = image_files.read(file, grey=self.grey or None)
            if self.size is not None and image.size != (self.size, self.size):
                image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
            return image_files.pixels(image)
        except UserError as error:
            return error


def _read(cache: Path, key: str) -> dict[str, Any] | None:
    """Return the cached arrays; None if there are none, they are of other files, or the cache was altered."""
    if irregular(cache):
        return None
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            arrays = dict(stored)
        # The zip format's checksums tell damage, but a tool that writes other arrays writes these, too.
        if str(arrays.pop("sha256")) != _sha256(arrays):
            return None
        return {name: array for name, array in arrays.items() if name != "key"}
    except Exception:  # a damaged file can raise anything
        return None


def _sha256(arrays: Mapping[str, Any]) -> str:
    """Return SHA-256 of the arrays with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
