"""Atomic writes of Lightning's checkpoints."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from src.runs.atomic import replace_files
from src.runs.checkpoint import DIGEST, serialised


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced atomically, with the digest of the run's settings.

    Lightning itself writes to `$TMPDIR` and moves the file without fsync: on another disk, a kill can leave half of it.
    """

    def __init__(self, digest: str) -> None:
        super().__init__()
        self.digest = digest

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        replace_files({Path(path): serialised(checkpoint | {DIGEST: self.digest})})
