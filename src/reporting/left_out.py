"""What a report leaves out, by name, and what to do."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.reporting.grid import Grid
from src.reporting.statistics import counted

FIRST = 5  # that are named
OTHER_FILES = "trained on other data files than the newest run"
MEND = (
    "the run's own command renames a damaged run.json or metrics.csv and trains what is missing; for any other file "
    "add force=true"
)


def tell(damaged: Mapping[Path, str], grids: Sequence[Grid]) -> None:
    """Say on stderr which files are damaged, and which runs were trained on other data files than the rest."""
    if damaged:
        print(f"{counted(len(damaged), 'damaged file')} left out: {named(damaged)}; {MEND}", file=sys.stderr)
    if others := on_other_files(grids):
        print(
            f"{counted(len(others), 'run')} left out, {OTHER_FILES}: "
            f"{named(dict.fromkeys(others, ''))}; force=true trains them again on the files that are there now",
            file=sys.stderr,
        )


def on_other_files(grids: Sequence[Grid]) -> list[Path]:
    """The folders of runs on other data files than the rest of their grid."""
    return [Path(directory) for grid in grids for directory in grid.on_other_files]


def named(files: Mapping[Path, str]) -> str:
    """The first few with their reasons, and how many more."""
    texts = [f"{path}: {' '.join(why.split())}" if why else str(path) for path, why in files.items()]
    return ", ".join(texts[:FIRST]) + (f" and {len(texts) - FIRST} more" if len(texts) > FIRST else "")
