"""Checkpoints that are whole, and known to be."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from src.runs.files import replace_files
from src.runs.run import Row


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced atomically.

    Lightning itself writes to `$TMPDIR` and renames without fsync, which tears the file where that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        replace_files({Path(path): serialised(checkpoint)})


def serialised(checkpoint: dict[str, Any]) -> bytes:
    """A checkpoint as its file holds it."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def read(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds; None where there is none, or not what was written.

    `torch.load` takes a flipped byte for a weight; but the file is a ZIP archive, with a CRC-32 for each member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged_member = archive.testzip()
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a damaged file makes either reader raise
        return None
    return checkpoint if damaged_member is None else None


def intact(path: Path) -> bool:
    """Whether a checkpoint holds what was written."""
    return read(path) is not None


def curve_in(path: Path) -> list[Row]:
    """The epochs that a checkpoint holds; none where there is none, or a damaged one."""
    checkpoint = read(path)
    return checkpoint["curve"] if checkpoint else []
