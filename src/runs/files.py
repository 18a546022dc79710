"""Files that are there whole or not at all."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path`: whoever reads, or is killed meanwhile, finds the old bytes or the new. Raises OSError.

    One writer at a time, which a run's lock gives.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is neither used nor lost; its new name."""
    return path.replace(path.with_name(f"{path.name}.damaged"))
