"""A run on disk: its record, curve, checkpoint and lock."""

import csv
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from src.config.conf_files import stored_config
from src.errors import UserError
from src.files import Damaged, read_file, replace_file, replace_files, set_aside
from src.runs import predictions as predictions_file
from src.runs.own_code import OwnCode
from src.runs.provenance import command_id
from src.runs.record import (
    ENDED,
    OtherRecipe,
    Row,
    check_agreement,
    number_of_classes,
    parse_curve,
    parse_record,
)

CODE = "code"  # the folder of copies of the user's own code
NEW, COMPLETE, MOVING = ".new", ".new.complete", ".new.moving"  # folders of a training that replaces an earlier one
# Bytes, several times those of any real file: a larger one would take minutes and gigabytes to be parsed.
LARGEST_RECORD, LARGEST_CURVE = 2**22, 2**26
GLANCE = 0.3  # seconds that a trainer waits for a lock, which `held` takes for an instant to test it


class Run:
    """The directory of one run. Its files are replaced atomically, so a kill leaves each file old or new."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = directory / ".lock"
        self._use(directory)

    def _use(self, folder: Path) -> None:
        """Read and write files in this folder."""
        self.folder = folder
        self.record_file = folder / "run.json"
        self.curve_file = folder / "metrics.csv"
        self.checkpoint = folder / "last.ckpt"
        self.predictions_file = folder / "predictions.npy"
        self.error_figure_file = folder / "error_figure.png"

    @property
    def digest(self) -> str:
        """The digest of the run's settings, with which the directory's name ends."""
        return self.directory.name[-8:]

    def read(self) -> tuple[dict[str, Any], list[Row]]:
        """Return record and curve, checked to agree; empty if missing. Raises Damaged and OSError."""
        record = self._read_record()
        return record, self._read_curve(record)

    def _read_record(self) -> dict[str, Any]:
        try:
            return parse_record(read_file(self.record_file, largest=LARGEST_RECORD), self.digest)
        except FileNotFoundError:
            return {}

    def _read_curve(self, record: dict[str, Any]) -> list[Row]:
        try:
            rows = parse_curve(read_file(self.curve_file, largest=LARGEST_CURVE))
        except FileNotFoundError:
            rows = []
        check_agreement(record, rows)
        return rows

    def damage(self) -> dict[Path, str]:
        """Return the damaged file, record or curve, with the reason; empty if both are intact. Raises OSError."""
        try:
            record = self._read_record()
        except OtherRecipe:
            return {}
        except Damaged as error:
            return {self.record_file: str(error)}
        try:
            self._read_curve(record)
        except Damaged as error:
            return {self.curve_file: str(error)}
        return {}

    def record(self) -> dict[str, Any]:
        """Return the content of `run.json`; empty if it is missing or damaged. Raises OSError."""
        try:
            return self._read_record()
        except Damaged:
            return {}

    def write(self, record: dict[str, Any]) -> None:
        """Replace the record."""
        replace_file(self.record_file, json.dumps(record, indent=2, allow_nan=False).encode() + b"\n")

    def update(self, **fields: Any) -> None:
        """Add `fields` to the record."""
        self.write(self.record() | fields)

    def write_curve(self, rows: list[Row]) -> None:
        """Write all epochs. Floats are written as their shortest decimals, which read back to the same bits."""
        text = io.StringIO()
        columns = dict.fromkeys(key for row in rows for key in row)  # some epochs may have been trained with `probe`
        writer = csv.DictWriter(text, list(columns), restval=math.nan, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_file(self.curve_file, text.getvalue().encode())

    def write_predictions(self, predictions: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
        """Write the predicted and the true label of every test image after the last epoch; each (N,)."""
        replace_file(self.predictions_file, predictions_file.serialised(predictions, labels, classes))

    def predictions(self, images: int) -> NDArray[Any] | None:
        """Return predicted and true labels, (2, images); None if there are none. Raises Damaged."""
        return predictions_file.read(self.predictions_file, images, number_of_classes(self.record()))

    def write_error_figure(self, pixels: NDArray[np.uint8]) -> None:
        """Write the error figure as PNG; pixels (H, W, 3)."""
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, format="PNG", compress_level=3)  # half the time of the default, the same size
        replace_file(self.error_figure_file, png.getvalue())

    @property
    def ended(self) -> bool:
        """True if nothing is left to train: the record says so, and the curve agrees with it."""
        try:
            return self.read()[0].get("status") in ENDED
        except Damaged:
            return False

    @contextmanager
    def locked(self, wait: bool = False, patience: float = GLANCE) -> Iterator[None]:
        """Hold the lock of this run; the lock of a dead process does not count.

        If another process is training the run, wait for that to end, or raise UserError after `patience` seconds if
        not `wait`.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(self._lock) and not self._lock_is_a_file:
            set_aside(self._lock)  # FileLock would truncate a link's target
        try:
            with FileLock(self._lock, timeout=-1 if wait else patience):
                self._finish_replacing()
                yield
        except Timeout:
            raise UserError(f"{self.directory}: another process is training this run; wait for it, or end it") from None

    @property
    def _lock_is_a_file(self) -> bool:
        return self._lock.is_file() and not self._lock.is_symlink()

    @property
    def held(self) -> bool:
        """True if a live process is training this run."""
        if not self._lock_is_a_file:
            return False
        try:
            with FileLock(self._lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # another user's run: whoever can read the lock can test it
            return _is_locked(self._lock)

    def to_be_cleared(self, force: bool) -> bool:
        """Return True if `force` still applies: a command, or a requeued Slurm job, clears each run only once."""
        sessions = self.record().get("sessions") or [{}]
        return force and (command_id() is None or sessions[0].get("command_id") != command_id())

    def write_hydra_files(self, cfg: DictConfig, hydra: Any) -> None:
        """Write the files in `.hydra/`. Hydra would need the run's directory before the settings are checked."""
        folder = self.folder / ".hydra"
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            set_aside(folder)
        folder.mkdir(exist_ok=True)
        contents = {"config": cfg, "hydra": {"hydra": hydra}, "overrides": hydra.overrides.task}
        replace_files({folder / f"{name}.yaml": OmegaConf.to_yaml(each).encode() for name, each in contents.items()})

    def configured(self, key: str) -> Any:
        """Return a value of the configuration in `.hydra/`; None if there is none or the file is damaged."""
        try:
            return OmegaConf.select(stored_config(self.folder / ".hydra" / "config.yaml"), key)
        except Exception:  # a damaged file can raise anything
            return None

    def check_data(self, sha256: str, shape: tuple[int, int, int]) -> None:
        """Raise UserError if this run was trained on images with another hash or shape."""
        record = self.record()
        data = record.get("data", {})
        if data.get("sha256", sha256) != sha256 or tuple(data.get("shape", shape)) != shape:
            other = ", and another data.name= keeps both" if record["settings"].get("source") else ""
            raise UserError(
                f"{self.directory}: was trained on other data files than the current ones; force=true trains it "
                f"again{other}"
            )

    def check_code(self, code: OwnCode) -> None:
        """Raise UserError if this run was trained by other code of the user's own than the current one."""
        recorded = (self.record().get("sessions") or [{}])[-1].get("code")
        if recorded is not None and recorded != code.digest:
            raise self.trained_by_other_code(code)

    def trained_by_other_code(self, code: OwnCode) -> UserError:
        """Return the error that names what has changed, and the two ways on."""
        return UserError(
            f"{self.directory}: was trained by other code than the current {code.name or 'one'}; put back what was "
            f"changed ({self.directory / CODE} has a copy), or train it again with force=true"
        )

    @property
    def staged(self) -> bool:
        """True if files are written to a hidden folder, so that an earlier training is still there."""
        return self.folder != self.directory

    def stage(self) -> None:
        """Write to a hidden folder until `adopt`, if there is anything to keep; the caller holds the lock."""
        if all(path == self._lock for path in self.directory.iterdir()):
            return
        self._use(self.directory / NEW)
        self.folder.mkdir()

    def adopt(self) -> None:
        """Replace the files of an earlier training by the staged ones. A kill leaves one training or the other."""
        self.folder.rename(self.directory / COMPLETE)
        self._finish_replacing()
        self._use(self.directory)

    def abandon(self) -> None:
        """Remove staged files, if there are any; the earlier training stays."""
        if self.staged:
            _remove(self.folder)
            self._use(self.directory)

    def _finish_replacing(self) -> None:
        """Finish or undo what a killed process has begun. Links are removed, not their targets."""
        complete, moving = self.directory / COMPLETE, self.directory / MOVING
        _remove(self.directory / NEW)
        if complete.is_dir():
            for path in self.directory.iterdir():
                if path not in (complete, self._lock):
                    _remove(path)
            complete.rename(moving)
        if moving.is_dir():
            for path in moving.iterdir():
                path.rename(self.directory / path.name)
            moving.rmdir()


def _is_locked(file: Path) -> bool:
    """Return True if a process holds the lock of a file that can be read, but perhaps not written."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def now() -> str:
    """Return the time in UTC, as ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
