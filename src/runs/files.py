"""Files that are there whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path


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
            with partial.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for partial, path in partials.items():
            partial.replace(path)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is neither used nor lost; its new name."""
    return path.replace(path.with_name(f"{path.name}.damaged"))
