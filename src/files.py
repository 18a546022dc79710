"""Atomic writes of files, and safe reads of files that may be damaged or not regular."""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

LARGEST = 2**28  # bytes
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Damaged(ValueError):
    """A file does not have the content that Ravine wrote; the text gives the reason."""


def irregular(path: Path) -> str:
    """Return what is there instead of a regular file, such as "a FIFO"; empty for a regular file, or for nothing.

    Links are followed. To open a pipe might never end.
    """
    try:
        return KINDS.get(stat.S_IFMT(path.stat().st_mode), "")
    except OSError:
        return ""


def read_file(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a file. Raises Damaged if it is too large or not regular: a pipe might never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link to itself, a socket
            raise Damaged(str(error.strerror)) from None
        raise
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Damaged("not a regular file")
        if about.st_size > largest:
            raise Damaged(f"larger than {largest:,} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def as_cell(value: object) -> object:
    """Return what a CSV file is to hold, so that no spreadsheet takes a text for a formula (OWASP, CSV injection)."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically: after a kill, and for readers, it has the old or the new content. Raises OSError.

    Only one process may write a file at a time, which a run's lock ensures.
    """
    replace_files({path: content})


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Replace several files, each atomically; none is replaced before all are written. Raises OSError."""
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
    """Add the file name to an OSError; that of a full disk has none."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _write_new(path: Path, content: bytes) -> None:
    """Write a new file. A killed writer's file is removed first; links are never followed."""
    path.unlink(missing_ok=True)
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "wb"
    ) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def set_aside(path: Path) -> Path:
    """Rename `path` to `*.damaged`, so that it is neither used nor lost. Return the new path."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in range(1000))
    return path.rename(next(name for name in names if not os.path.lexists(name)))
