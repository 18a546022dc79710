"""Checkpoints that are whole, of the run that they lie with, and known to be."""

import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn
from torch.optim import Optimizer

from src.errors import flat
from src.runs.atomic import Damaged, replace_files, set_aside
from src.runs.directory import Run
from src.runs.record import ENDED, check_agreement, checked_curve

DIGEST = "digest"  # the key under which a checkpoint says of which settings it is


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, replaced atomically, with the digest of the run's settings.

    Lightning itself writes to `$TMPDIR` and renames without fsync, which tears the file where that is another disk.
    """

    def __init__(self, digest: str) -> None:
        super().__init__()
        self.digest = digest

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        replace_files({Path(path): serialised(checkpoint | {DIGEST: self.digest})})


def serialised(checkpoint: dict[str, Any]) -> bytes:
    """A checkpoint as its file holds it."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def read(path: Path, digest: str) -> dict[str, Any]:
    """A checkpoint of the run of this digest, its curve checked. Raises Damaged.

    `torch.load` takes a flipped byte for a weight; but the file is a ZIP archive, with a CRC-32 for each member.
    """
    if not path.is_file():
        raise Damaged("no regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged_member = archive.testzip()
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes either reader raise
        raise Damaged(flat(error)) from None
    if damaged_member is not None:
        raise Damaged(f"its part {damaged_member} has changed")
    if not isinstance(checkpoint, dict):
        raise Damaged("no checkpoint")
    curve = checked_curve(checkpoint.get("curve"))
    if DIGEST not in checkpoint:  # written by version 0.1
        record, rows = Run(path.parent).read()
        if not record or rows[: len(curve)] != curve or len(rows) > len(curve) + 1:
            raise Damaged("by version 0.1, and perhaps of another run: its curve is not that of metrics.csv")
    elif checkpoint[DIGEST] != digest:
        raise Damaged(f"of run {checkpoint[DIGEST]}")
    return checkpoint


def read_fitting(path: Path, digest: str, epochs: int, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """A checkpoint from which a run of this length, model and optimizer can resume. Raises Damaged."""
    checkpoint = read(path, digest)
    done = len(checkpoint["curve"])
    if not 1 <= done <= epochs or checkpoint.get("epoch") != done - 1:
        raise Damaged(f"of epoch {checkpoint.get('epoch')}, with a curve of {done} epochs")
    shapes = {f"model.{name}": getattr(each, "shape", None) for name, each in model.state_dict().items()}
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    try:
        (state,) = checkpoint["optimizer_states"]
        found = {name: getattr(each, "shape", None) for name, each in checkpoint["state_dict"].items()}
        fits = found == shapes and [len(group["params"]) for group in state["param_groups"]] == sizes
    except (KeyError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise Damaged("does not fit the network or the optimizer")
    return checkpoint


def restore_curve(run: Run) -> None:
    """Write the curve of a run that has ended anew, from its checkpoint. Raises Damaged where that is no remedy."""
    record, damage = run.record(), run.damage()
    if run.curve_file not in damage or record.get("status") not in ENDED:
        raise Damaged(*damage.values())
    curve = read(run.checkpoint, run.digest)["curve"]
    check_agreement(record, curve)
    with run.locked():
        if run.damage() != damage:  # another process has trained it meanwhile
            return
        if os.path.lexists(run.curve_file):
            set_aside(run.curve_file)
        run.write_curve(curve)
    print(
        f"{run.curve_file}: was damaged ({damage[run.curve_file]}); restored from {run.checkpoint.name}",
        file=sys.stderr,
    )
