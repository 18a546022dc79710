"""Checkpoints that are whole, and known to be."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from src.runs.files import replace_file


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced atomically.

    Lightning itself writes to `$TMPDIR` and renames without fsync, which tears the file where that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        replace_file(Path(path), buffer.getvalue())


def intact(path: Path) -> bool:
    """Whether every byte of a checkpoint is as it was written.

    `torch.load` takes a flipped byte for a weight; but the file is a ZIP archive, with a CRC-32 for each member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
