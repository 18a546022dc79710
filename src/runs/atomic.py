"""Files that are there whole or not at all, and files that anybody may have put there."""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

LARGEST = 2**28  # bytes of a file that is read whole


class Damaged(ValueError):
    """A file is not what was written there; the text says in what."""


def read_file(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a file. Raises Damaged for anything but a regular file: a pipe, for one, would never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link to itself, a socket
            raise Damaged(str(error.strerror)) from None
        raise
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Damaged("no regular file")
        if about.st_size > largest:
            raise Damaged(f"larger than {largest:,} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path`: whoever reads, or is killed meanwhile, finds the old bytes or the new. Raises OSError.

    One writer at a time, which a run's lock gives.
    """
    replace_files({path: content})


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Replace several, each as `replace_file` does, and all within an instant: none before all are written."""
    partials = {path.with_name(f".{path.name}.partial"): path for path in contents}
    try:
        for partial, path in partials.items():
            with _naming(path):
                _write_new(partial, contents[path])
        for partial, path in partials.items():
            if path.is_dir() and not path.is_symlink():
                set_aside(path)
            partial.replace(path)
    finally:
        for partial in partials:
            with suppress(IsADirectoryError):
                partial.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError, as a full disk's does not."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _write_new(path: Path, content: bytes) -> None:
    """Write a file where there is none; a killed writer's is removed first, a link is never followed."""
    path.unlink(missing_ok=True)
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "wb"
    ) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def set_aside(path: Path) -> Path:
    """Rename what lies at `path` to `*.damaged`, so that it is neither used nor lost; the new path."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in range(1000))
    return path.rename(next(name for name in names if not os.path.lexists(name)))
