"""The state of a run as read from disk, also while it is training."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from src.config.settings import ConfigChoices, Settings, display_name
from src.files import Damaged
from src.runs.directory import Run
from src.runs.record import ENDED, Status, guessing, number_of_classes

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
    data_sha256: str | None = None  # None before its data are loaded
    code: str | None = None  # digest of the code of the user's own; None if there is none, or it is not recorded
    test_guess: float = 0.1  # accuracy of guessing, as which a diverged run counts
    validation_guess: float = 0.1

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
    last = record["sessions"][-1] if record.get("sessions") else {}
    state = State(
        run.directory,
        settings,
        names,
        status,
        error=record.get("error", ""),
        classes=number_of_classes(record),
        data_sha256=record.get("data", {}).get("sha256"),
        code=last.get("code"),
        test_guess=guessing(record, "test"),
        validation_guess=guessing(record, "validation"),
    )
    if status in ENDED:
        figures = record["figures"]
        return replace(
            state,
            epoch=figures["epochs"],
            test_accuracy=figures["test_accuracy"],
            validation_accuracy=figures.get("validation_accuracy"),
            seconds=(figures["training_seconds"] + figures.get("evaluation_seconds", 0.0)) / figures["epochs"],
        )
    if rows:
        seconds = sum(row["seconds"] + row.get("evaluation_seconds", 0.0) for row in rows) / len(rows)
        state = replace(state, epoch=len(rows), test_accuracy=rows[-1]["test_accuracy"], seconds=seconds)
    # A process that was killed could not record it.
    return replace(state, status="interrupted") if status == "running" and not run.held else state


def records(output: Path) -> list[Path]:
    """Return the record files of all runs under an output directory, or a part of one, sorted."""
    folders = [output, *(folder for depth in (1, 2, 3) for folder in output.glob("/".join("*" * depth)))]
    return sorted(
        folder / "run.json"
        for folder in folders
        # A glob of files leaves out links to themselves. Hidden folders are left by an interrupted `clear`.
        if os.path.lexists(folder / "run.json") and not folder.name.startswith(".")
    )
