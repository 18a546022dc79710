"""Messages about the files and runs that a report leaves out."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.errors import visible
from src.reporting.grid import Grid
from src.reporting.statistics import counted

FIRST = 5  # number of files named in a message
OTHER_FILES = "trained on other data files than the newest run"
OTHER_CODE = "trained by other code of your own than the newest run"
REPAIR = (
    "repeating the run's command renames a damaged run.json or metrics.csv and trains what is missing; for any other "
    "file of a run, add force=true; src.lr_range replaces its own"
)


def tell(damaged: Mapping[Path, str], grids: Sequence[Grid], other_recipes: int) -> None:
    """Print to stderr what is left out: damaged files, runs of other recipes, on other data files or by other code."""
    if other_recipes:
        print(f"{counted(other_recipes, 'run')} of another recipe (see CHANGELOG.md) left out", file=sys.stderr)
    if damaged:
        print(f"{counted(len(damaged), 'damaged file')} left out: {named(damaged)}; {REPAIR}", file=sys.stderr)
    for why, current in ((OTHER_FILES, "on the current files"), (OTHER_CODE, "with the code as it is now")):
        if others := {path: "" for path, reason in runs(grids).items() if reason == why}:
            print(
                f"{counted(len(others), 'run')} left out, {why}: {named(others)}; force=true repeats them {current}",
                file=sys.stderr,
            )


def runs(grids: Sequence[Grid]) -> dict[Path, str]:
    """Return the directories of ended runs that their grid leaves out, with the reasons."""
    files = {Path(directory): OTHER_FILES for grid in grids for directory in grid.on_other_files}
    return files | {Path(directory): OTHER_CODE for grid in grids for directory in grid.on_other_code}


def named(files: Mapping[Path, str]) -> str:
    """List the first few files with the reasons, and the number of the others."""
    texts = [f"{path}: {' '.join(why.split())}" if why else str(path) for path, why in files.items()]
    return visible(", ".join(texts[:FIRST])) + (f" and {len(texts) - FIRST} more" if len(texts) > FIRST else "")
