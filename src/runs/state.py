"""The state of a run as read from disk, also while it is training."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from src.config.settings import ConfigChoices, Settings, display_name
from src.runs.atomic import Damaged
from src.runs.directory import Run
from src.runs.record import ENDED, Status, number_of_classes

RunStatus = Literal["to do", Status]  # "to do": waits to be trained or resumed


@dataclass(frozen=True)
class State:
    """The state of a run; its figures are those of the last epoch on disk."""

    directory: Path
    settings: Settings
    names: ConfigChoices
    status: RunStatus = "to do"
    epoch: int = 0
    test_accuracy: float | None = None
    seconds: float | None = None  # per epoch, with its evaluation
    error: str = ""
    validation_accuracy: float | None = None  # of runs that hold images out
    classes: int = 10

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def epochs_left(self) -> int:
        return 0 if self.ended else self.settings.epochs - self.epoch

    @property
    def display_name(self) -> str:
        return display_name(self.settings, self.names)


def read_state(run: Run) -> State | None:
    """Return the state of a run; None if its record is missing, or its record or curve is damaged."""
    try:
        record, rows = run.read()
    except (Damaged, OSError):
        return None
    if not record:
        return None
    settings, names, status = Settings(**record["settings"]), ConfigChoices(**record["names"]), record["status"]
    error = record.get("error", "")
    if status in ENDED:
        figures = record["figures"]
        epoch, accuracy = figures["epochs"], figures["test_accuracy"]
        seconds = (figures["training_seconds"] + figures.get("evaluation_seconds", 0.0)) / epoch
        chosen_by = figures.get("validation_accuracy")
        classes = number_of_classes(record)
        return State(run.directory, settings, names, status, epoch, accuracy, seconds, error, chosen_by, classes)
    if status == "running" and not run.held:
        status = "interrupted"  # its process was killed and could not record it
    last = rows[-1] if rows else {}
    seconds = sum(row["seconds"] + row.get("evaluation_seconds", 0.0) for row in rows) / len(rows) if rows else None
    epoch = int(last.get("epoch", 0))
    return State(run.directory, settings, names, status, epoch, last.get("test_accuracy"), seconds, error)


def records(output: Path) -> list[Path]:
    """Return the record files of all runs under an output directory, or a part of one, sorted."""
    folders = [output, *(folder for depth in (1, 2, 3) for folder in output.glob("/".join("*" * depth)))]
    return sorted(
        folder / "run.json"
        for folder in folders
        # A glob of files leaves out links to themselves. Hidden folders are left by an interrupted `clear`.
        if os.path.lexists(folder / "run.json") and not folder.name.startswith(".")
    )
