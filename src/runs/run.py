"""A run on disk: its record, curve, checkpoint and lock."""

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image

from src.errors import UserError
from src.runs.files import replace_file

GLANCE = (
    0.3  # seconds that a trainer waits for a lock, which somebody may hold for an instant to see whether it is free
)

Row = dict[str, float]  # one epoch of a curve
ENDED = ("finished", "diverged")
Status = Literal["running", "finished", "diverged", "failed", "interrupted"]


class Run:
    """The directory of one run. Its files are replaced atomically, so that a kill leaves each old or new."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record_file = directory / "run.json"
        self.curve_file = directory / "metrics.csv"
        self.checkpoint = directory / "last.ckpt"
        self.predictions_file = directory / "predictions.npy"
        self._lock = directory / ".lock"

    def record(self) -> dict[str, Any]:
        """What `run.json` says; empty where there is none, or a damaged one."""
        try:
            record = json.loads(self.record_file.read_bytes())
            status = record["status"]
            return record if status in get_args(Status) and ("figures" in record or status not in ENDED) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def write(self, record: dict[str, Any]) -> None:
        """Replace the record."""
        replace_file(self.record_file, json.dumps(record, indent=2, allow_nan=False).encode() + b"\n")

    def update(self, **fields: Any) -> None:
        """Add `fields` to the record."""
        self.write(self.record() | fields)

    def curve(self) -> list[Row]:
        """The epochs written so far; none where there is no curve, or a damaged one."""
        try:
            with self.curve_file.open(newline="") as file:
                return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError):
            return []

    def write_curve(self, rows: list[Row]) -> None:
        """Write all epochs; floats as their shortest decimals, which read back to the same bits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_file(self.curve_file, text.getvalue().encode())

    def write_predictions(self, predictions: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        """Write what the last epoch's network takes each test image for, and what it is; each (N,), in their order."""
        content = io.BytesIO()
        np.save(content, np.stack([predictions, labels]), allow_pickle=False)
        replace_file(self.predictions_file, content.getvalue())

    def predictions(self) -> NDArray[np.uint8] | None:
        """What `write_predictions` wrote, (2, N); None where there is none, or a damaged file."""
        try:
            found = np.load(self.predictions_file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found if found.ndim == 2 and len(found) == 2 else None

    def write_picture(self, pixels: NDArray[np.uint8]) -> None:
        """Write the mistakes; pixels (H, W, 3)."""
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, format="PNG")
        replace_file(self.directory / "mistakes.png", png.getvalue())

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.record().get("status") in ENDED

    @contextmanager
    def locked(self, wait: bool = False) -> Iterator[None]:
        """Hold this run alone; the lock of a dead process is no obstacle.

        Where another process trains it: waits for that to end, or raises UserError.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._lock, timeout=-1 if wait else GLANCE):
                yield
        except Timeout:
            raise UserError(f"{self.directory}: another process is training this run; wait for it, or end it") from None

    @property
    def held(self) -> bool:
        """Whether a live process is training this run."""
        if not self._lock.exists():
            return False
        try:
            with FileLock(self._lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # another user's run, perhaps
            return False

    def check_data(self, sha256: str) -> None:
        """Raise UserError where this run was trained on other images than those of this hash."""
        if self.record().get("data", {}).get("sha256", sha256) != sha256:
            raise UserError(f"{self.directory}: was trained on other files than lie there now; force=true begins anew")

    def clear(self) -> None:
        """Remove what an earlier training left, but not the lock; first what would make it look finished."""
        self.record_file.unlink(missing_ok=True)
        self.checkpoint.unlink(missing_ok=True)
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()


def finite(row: Row) -> bool:
    """Whether the losses of an epoch are."""
    return all(math.isfinite(value) for key, value in row.items() if key.endswith("_loss"))


def now() -> str:
    """The time, in UTC, as ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
