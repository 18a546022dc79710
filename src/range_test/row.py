"""Rows of a command's result: runs that differ in lr, epochs, schedule and seed only."""

from dataclasses import dataclass, replace
from pathlib import Path

from src.config.resolve import Resolved
from src.config.selection import Selection
from src.config.settings import ConfigChoices, Settings
from src.display.accuracy_table import differences
from src.runs.range_tests import normalized, range_test_file
from src.runs.state import State


@dataclass(frozen=True, eq=False)
class Row:
    """A combination of settings to test, with its seeds. `settings` are normalized."""

    settings: Settings
    names: ConfigChoices
    seeds: tuple[int, ...]
    source: Resolved  # of the data
    overrides: list[str]  # of the first run
    file: Path
    label: str  # of settings that tell it from other rows, besides data, model, optimizer and batch size

    @property
    def name(self) -> str:
        """Its name for display."""
        settings, names = self.settings, self.names
        return f"{settings.data} {names.model} {names.optimizer} batch {settings.batch_size}{self.label}"


def rows(selection: Selection) -> list[Row]:
    """Return the rows of the selected runs, in their order."""
    found: dict[Path, Row] = {}
    for resolved, overrides in zip(selection.resolved, selection.overrides, strict=True):
        file = range_test_file(selection.output, resolved.settings, resolved.names)
        seed = resolved.settings.seed
        if file not in found:
            names = replace(resolved.names, schedule="constant")
            found[file] = Row(normalized(resolved.settings), names, (seed,), resolved, overrides, file, "")
        elif seed not in found[file].seeds:
            found[file] = replace(found[file], seeds=(*found[file].seeds, seed))
    labels = differences(State(file, row.settings, row.names) for file, row in found.items())
    return [replace(row, label=labels[file]) for file, row in found.items()]
