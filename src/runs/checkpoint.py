"""Checkpoints: reads that check that the file is intact and belongs to the run."""

import io
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from src.errors import UserError, flat
from src.files import Damaged, set_aside
from src.runs.directory import Run
from src.runs.record import ENDED, check_agreement, checked_curve, finite

DIGEST = "digest"  # the key of the settings' digest in a checkpoint
PLAIN = (type(None), bool, int, float, complex, str)


def serialised(checkpoint: dict[str, Any]) -> bytes:
    """Return the bytes of a checkpoint's file.

    Optimizers' states get plain values; the snapshot beside them holds everything else.
    """
    buffer = io.BytesIO()
    states = {"optimizer_states": _plain(checkpoint["optimizer_states"])} if "optimizer_states" in checkpoint else {}
    torch.save(checkpoint | states, buffer)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    """Return nested values as `torch.load(weights_only=True)` reads them; others become None."""
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(each) for each in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.tensor(value.tolist(), dtype=torch.from_numpy(np.zeros(1, value.dtype)).dtype)
    return value if type(value) in PLAIN or isinstance(value, Tensor) else None


@contextmanager
def quiet_about_sparse_tensors() -> Iterator[None]:
    """Read checkpoints without torch's warning that it checks the indices of sparse tensors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Validating sparse tensor invariants")
        yield


def read_back(path: Path) -> dict[str, Any]:
    """Return a checkpoint that this process has just written. Raises UserError that names what cannot be read again."""
    try:
        with quiet_about_sparse_tensors():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the user's network may have put anything into it
        whole = torch.load(path, map_location="cpu", weights_only=False)  # written by this process
        key = _unreadable(whole, "") or "it"
        raise UserError(
            f"{path}: {key} cannot be read again ({flat(error)[:200]}); keep tensors, numbers, text, and lists and "
            "dictionaries of these in the state of a network"
        ) from error


def _unreadable(value: Any, place: str) -> str:
    """Return the place of the first part that cannot be read again; empty if all can."""
    buffer = io.BytesIO()
    try:
        torch.save(value, buffer)
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    except Exception:
        parts = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        )
        inner = (_unreadable(each, f"{place}.{key}".lstrip(".")) for key, each in parts)
        return next(filter(None, inner), place)
    return ""


def read(path: Path, digest: str) -> dict[str, Any]:
    """Return the checkpoint of the run with this digest, its curve checked. Raises Damaged.

    `torch.load` does not notice a flipped byte, but the CRC-32 of each member of this ZIP archive does.
    """
    if not path.is_file():
        raise Damaged("not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged_member = archive.testzip()
        with quiet_about_sparse_tensors():
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise Damaged(flat(error)) from None
    if damaged_member is not None:
        raise Damaged(f"its member {damaged_member} has a wrong checksum")
    if not isinstance(checkpoint, dict):
        raise Damaged("not a checkpoint")
    curve = checked_curve(checkpoint.get("curve"))
    weights = checkpoint.get("state_dict")
    for name, each in weights.items() if isinstance(weights, dict) else []:
        if isinstance(each, torch.Tensor) and each.layout != torch.strided:
            raise Damaged(f"its {name} is sparse; weights are dense")
        # Infinite numbers may be meant, as in the mask of an attention.
        if isinstance(each, torch.Tensor) and all(map(finite, curve[-1:])) and bool(each.isnan().any()):
            raise Damaged(f"its {name} is not a number, though its losses are")
    if checkpoint.get(DIGEST) != digest:
        raise Damaged(f"belongs to run {checkpoint.get(DIGEST)}")
    return checkpoint


def read_fitting(
    path: Path, digest: str, data_sha256: str, epochs: int, model: nn.Module, optimizer: Optimizer
) -> dict[str, Any]:
    """Return a checkpoint from which a run with these data, epochs, model and optimizer can resume. Raises Damaged."""
    checkpoint = read(path, digest)
    if checkpoint.get("data_sha256", data_sha256) != data_sha256:
        raise Damaged("was trained on other data files than the current ones")
    done = len(checkpoint["curve"])
    if not 1 <= done <= epochs or checkpoint.get("epoch") != done - 1:
        raise Damaged(f"its epoch {checkpoint.get('epoch')} does not fit a curve of {done} epochs in a run of {epochs}")
    shapes = {f"model.{name}": getattr(each, "shape", None) for name, each in model.state_dict().items()}
    kinds = {f"model.{name}": getattr(each, "dtype", None) for name, each in model.state_dict().items()}
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    try:
        (state,) = checkpoint["optimizer_states"]
        found = {name: getattr(each, "shape", None) for name, each in checkpoint["state_dict"].items()}
        # A snapshot is complete by itself: buffers may have grown, and `state_dict` may have any form.
        fits = found.keys() == shapes.keys() and (
            "snapshot" in checkpoint
            or (found == shapes and [len(group["params"]) for group in state["param_groups"]] == sizes)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        fits = False
    if fits and (wrong := [key for key, kind in kinds.items() if _kind(checkpoint, key) != kind]):
        raise Damaged(f"its {wrong[0]} holds {_kind(checkpoint, wrong[0])}, not {kinds[wrong[0]]}")
    if not fits:
        raise Damaged("does not fit the network or the optimizer")
    return checkpoint


def _kind(checkpoint: dict[str, Any], key: str) -> Any:
    return getattr(checkpoint["state_dict"][key], "dtype", None)


def restore_curve(run: Run) -> None:
    """Rewrite the damaged curve of an ended run from its checkpoint. Raises Damaged if that is not possible."""
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
