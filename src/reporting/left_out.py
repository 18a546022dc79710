"""Messages about the files and runs that a report leaves out."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.reporting.grid import Grid
from src.reporting.statistics import counted

FIRST = 5  # number of files named in a message
OTHER_FILES = "trained on other data files than the newest run"
REPAIR = (
    "repeating the run's command renames a damaged run.json or metrics.csv and trains what is missing; for any other "
    "file of a run, add force=true; src.lr_range replaces its own"
)


def tell(damaged: Mapping[Path, str], grids: Sequence[Grid], other_recipes: int) -> None:
    """Print to stderr what is left out: damaged files, runs on other data files, and runs of other recipes."""
    if other_recipes:
        print(f"{counted(other_recipes, 'run')} of another recipe (see CHANGELOG.md) left out", file=sys.stderr)
    if damaged:
        print(f"{counted(len(damaged), 'damaged file')} left out: {named(damaged)}; {REPAIR}", file=sys.stderr)
    if others := on_other_files(grids):
        print(
            f"{counted(len(others), 'run')} left out, {OTHER_FILES}: "
            f"{named(dict.fromkeys(others, ''))}; force=true repeats them on the current files",
            file=sys.stderr,
        )


def on_other_files(grids: Sequence[Grid]) -> list[Path]:
    """Return the directories of runs on other data files than the rest of their grid."""
    return [Path(directory) for grid in grids for directory in grid.on_other_files]


def named(files: Mapping[Path, str]) -> str:
    """List the first few files with the reasons, and the number of the others."""
    texts = [f"{path}: {' '.join(why.split())}" if why else str(path) for path, why in files.items()]
    return ", ".join(texts[:FIRST]) + (f" and {len(texts) - FIRST} more" if len(texts) > FIRST else "")
