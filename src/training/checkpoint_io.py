"""Atomic writes of Lightning's checkpoints."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from src.files import replace_files
from src.runs.checkpoint import quiet_about_sparse_tensors, serialised


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced atomically, with what identifies the run: settings, data and code.

    Lightning itself writes to `$TMPDIR` and moves the file without fsync: on another disk, a kill can leave half of it.
    """

    def __init__(self, identity: dict[str, str | None]) -> None:
        super().__init__()
        self.identity = identity

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        replace_files({Path(path): serialised(checkpoint | self.identity)})

    def load_checkpoint(self, path: Any, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        """Return a checkpoint; a snapshot in it has been restored by now, so Lightning need not load less than that."""
        with quiet_about_sparse_tensors():
            checkpoint = super().load_checkpoint(path, *arguments, **keywords)
        return checkpoint | ({"optimizer_states": []} if "snapshot" in checkpoint else {})
