"""Progress of many runs: counts, epochs, ETA, and a line per training run."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from src.display.accuracy_table import differences, tables
from src.display.eta import EpochTimes, clock
from src.display.wide_table import print_table
from src.runs.state import RunStatus, State

COUNTED: tuple[RunStatus, ...] = ("finished", "diverged", "failed", "interrupted", "running", "to do")


class SweepProgress:
    """Displays of the states of runs. `workers` is how many train at once; by default, as many as are running."""

    def __init__(self, workers: int | None = None, epoch_times: EpochTimes | None = None) -> None:
        self.workers = workers
        self.epoch_times = epoch_times or EpochTimes()
        self._differences: dict[Path, str] = {}

    def compare(self, states: Sequence[State]) -> None:
        """Find the settings by which these runs differ, other than those in their names."""
        self._differences = differences(states)

    def display_name(self, state: State) -> str:
        """Return a run's name, unique among the compared runs."""
        return state.display_name + self._differences.get(state.directory, "")

    def time_left(self, states: Sequence[State]) -> str | None:
        """Return hours, minutes and seconds until all runs are done; None if a run's time per epoch is unknown."""
        each = [self.epoch_times.left(state) for state in states if state.status != "failed"]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each):
            return None
        workers = self.workers or sum(state.status == "running" for state in states)
        seconds = max([sum(known) / max(1, workers), *known], default=0.0)
        return clock(seconds)

    def line(self, states: Sequence[State]) -> str:
        """Return the progress on one line, with an ETA if runs are running or to do."""
        eta = f"  ETA {self.time_left(states) or '-:--:--'}"
        at_it = self.workers or any(state.status in ("running", "to do") for state in states)
        return f"{counts_of(states)}  {_epochs(states)}{eta if at_it else ''}"

    def picture(self, states: Sequence[State]) -> Table:
        """Return a bar, the line, and a line per training run, for a terminal."""
        done, total = epochs_done(states)
        picture = Table.grid(expand=True)
        picture.add_row(ProgressBar(total=max(total, 1), completed=done))
        for line in (self.line(states), *self.running(states)):
            picture.add_row(Text(line, no_wrap=True, overflow="ellipsis"))
        return picture

    def running(self, states: Sequence[State]) -> list[str]:
        """Return a line per training run: its last epoch, accuracy and name."""
        return [
            f"epoch {state.epoch:>{len(str(state.settings.epochs))}}/{state.settings.epochs}  "
            + ("test   -    " if state.test_accuracy is None else f"test {state.test_accuracy:7.2%}")
            + f"  {self.display_name(state)}"
            for state in states
            if state.status == "running"
        ]

    def print_results(self, states: Sequence[State], console: Console) -> None:
        """Print the table of cells, if there is more than one run, and the name of each diverged or failed run."""
        for caption, table in tables(states) if len(states) > 1 else ():
            console.print(caption, soft_wrap=True)
            print_table(table, console)
        for state in states:
            if state.status in ("diverged", "failed"):
                reason = f": {state.error}" if state.error else ""
                text = Text(state.status, style="red").append(f"  {self.display_name(state)}{reason}", style="default")
                console.print(text, soft_wrap=True)


def counts_of(states: Sequence[State]) -> str:
    """Return the number of runs of each status, as text."""
    counts = Counter(state.status for state in states)
    parts = [f"{counts[status]} {status}" for status in COUNTED if counts[status]]
    return f"{len(states)} run{'s' * (len(states) != 1)}: {', '.join(parts)}"


def epochs_done(states: Sequence[State]) -> tuple[int, int]:
    """Return the epochs done and in total, without those that a diverged run left out."""
    total = sum(state.epoch + state.epochs_left for state in states)
    return sum(state.epoch for state in states), total


def _epochs(states: Sequence[State]) -> str:
    done, total = epochs_done(states)
    return f"{done}/{total} epoch{'s' * (total != 1)}"
