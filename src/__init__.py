"""Ravine. Its commands are run as `python -m src.train` and the like; `load` and `read` use what they wrote."""

import gc
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.inference.trained import TrainedNetwork
    from src.runs.dataframe import Frames

if sys.argv[:1] == ["-m"]:  # true while Python looks for the module of a `-m` command
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during imports ends the process at once, without a traceback
    gc.set_threshold(100_000)  # by default, searches for garbage take a tenth of the time of imports


def load(run: str | Path, output_dir: str | Path = "outputs", trust: bool = False) -> "TrainedNetwork":
    """Return the trained network of a run, ready to predict. Raises UserError.

    `run` is its directory, or a part of its name in `output_dir`, or `best` of the runs there. With `trust`, whatever
    class its record names is imported.
    """
    from src.inference.find import find  # late, since the commands import this module first
    from src.inference.trained import load_network

    (directory,) = find([str(run)], Path(output_dir))
    return load_network(directory, trust)


def read(output_dir: str | Path = "outputs") -> "Frames":
    """Return all runs below a directory as tidy data frames, `runs` and `curves` (docs/notebook.md has the columns)."""
    from src.runs.dataframe import read as read_frames

    return read_frames(Path(output_dir))
