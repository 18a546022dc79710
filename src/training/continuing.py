"""A longer run that goes on from a shorter one of the same settings."""

import glob
import os
import sys
from dataclasses import replace
from typing import Any

from src.config.settings import Settings
from src.files import Damaged, replace_files
from src.runs.checkpoint import read, serialised
from src.runs.directory import Run
from src.runs.record import lacks_probe
from src.schedules.schedule import updates_of
from src.schedules.torch_scheduler import new_schedule


def continue_shorter(
    run: Run, settings: Settings, identity: dict[str, str | None], probe: bool | str
) -> dict[str, Any]:
    """Copy the checkpoint of the longest finished run that this one begins with; return its record, else an empty one.

    It has the same settings except `epochs`, the same data and code, and a schedule whose first epochs are the same. So
    what follows is this run, bit for bit.
    """
    if run.staged or os.path.lexists(run.checkpoint):
        return {}
    for shorter, record in _shorter(run, settings):
        data, session = record["data"], record["sessions"][-1]
        same = (data["sha256"], session.get("code")) == (identity["data_sha256"], identity["code"])
        if not same or lacks_probe(record, probe) or record.get("fused"):
            continue
        try:
            checkpoint = read(shorter.checkpoint, shorter.digest)
        except Damaged:
            continue
        if "snapshot" in checkpoint and not checkpoint.get("unsaved"):
            replace_files({run.checkpoint: serialised(checkpoint | identity)})
            print(
                f"{run.directory}: goes on from the {len(checkpoint['curve'])} epochs of {shorter.directory}",
                file=sys.stderr,
            )
            return record
    return {}


def _shorter(run: Run, settings: Settings) -> list[tuple[Run, dict[str, Any]]]:
    """Return the finished runs beside this one that differ in `epochs` alone, the longest first."""
    stem = run.directory.name[:-8]
    found = []
    for directory in run.directory.parent.glob(f"{glob.escape(stem)}*"):
        other = Run(directory)
        record = other.record()
        if record.get("status") != "finished":
            continue
        its = Settings(**record["settings"])
        if (
            its.epochs < settings.epochs
            and replace(its, epochs=settings.epochs) == settings
            and _begins_alike(its, settings, record["data"]["train"])
        ):
            found.append((other, record))
    return sorted(found, key=lambda each: -each[1]["settings"]["epochs"])


def _begins_alike(short: Settings, long: Settings, images: int) -> bool:
    """Return True if lr, momentum and batch size are the same in all updates of the shorter run."""
    try:
        return _first_epochs(short, short.epochs, images) == _first_epochs(long, short.epochs, images)
    except Exception:  # the user's class may have changed since
        return False


def _first_epochs(settings: Settings, epochs: int, images: int) -> list[Any]:
    schedule = new_schedule(settings.schedule, settings.epochs)
    updates = updates_of(schedule, settings.batch_size, images)
    parts = schedule.lrs, schedule.momenta
    return [(updates[epoch], *(part(settings.lr, epoch, updates) for part in parts)) for epoch in range(epochs)]
