"""Downloads through torchvision, which tries its mirrors and checks MD5 sums."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.errors import UserError, flat
from src.interrupts import raise_interrupts

TIMEOUT = 15.0  # seconds without data; torchvision itself has no timeout


def complete(root: Path, files: Sequence[str]) -> bool:
    """Return True if all files are there."""
    return all((root / file).is_file() for file in files)


def download(name: str, root: Path, files: Sequence[str], fetch: Callable[[Any, str], object]) -> None:
    """Download the files of a data set into `root`; concurrent processes download once. Raises UserError.

    `fetch` is given `torchvision.datasets` and the folder to download into.
    """
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # torchvision's progress bars
    partial = root / f".{name}.partial"
    lock = Path(f"{partial}.lock")
    timeout = socket.getdefaulttimeout()
    created = [path for path in (root, *root.parents) if not path.exists()]
    raise_interrupts()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.touch()  # raises if files cannot be created here; FileLock may then retry forever
        with FileLock(lock):
            if complete(root, files):
                return
            from torchvision import datasets  # takes seconds to import, and is seldom needed

            shutil.rmtree(partial, ignore_errors=True)  # left by a killed download
            socket.setdefaulttimeout(TIMEOUT)
            try:
                fetch(datasets, str(partial))
                for file in files:
                    (root / file).parent.mkdir(parents=True, exist_ok=True)
                    (partial / file).replace(root / file)
            finally:
                socket.setdefaulttimeout(timeout)
                shutil.rmtree(partial, ignore_errors=True)
                if not complete(root, files):
                    lock.unlink(missing_ok=True)
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        folder = Path(files[0]).parent
        raise UserError(
            f"data={name}: its files are not in {root / folder} and cannot be downloaded ({flat(error)}); put them "
            f"there, set data_root= or DATA_ROOT to the folder that contains {folder if folder.name else files[0]}, "
            "or use data=digits"
        ) from error
    finally:
        for path in created:
            with suppress(OSError):  # not empty, or never created
                path.rmdir()
