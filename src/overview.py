"""How far many runs are: counts, epochs, ETA, and a line for each that trains."""

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from src.cells import LEGEND, tables
from src.pace import Pace
from src.runs.state import Standing, State

COUNTED: tuple[Standing, ...] = ("finished", "diverged", "failed", "interrupted", "running", "to do")


class Overview:
    """Pictures of the states of runs. `workers` is how many train at once; else as many as are seen to."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers
        self.pace = Pace()

    def time_left(self, states: Sequence[State]) -> str | None:
        """Hours, minutes and seconds until all is done; None where the pace of such runs is not known."""
        each = [self.pace.left(state) for state in states if state.standing != "failed"]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each):
            return None
        workers = self.workers or sum(state.standing == "running" for state in states)
        seconds = max([sum(known) / max(1, workers), *known], default=0.0)
        return f"{int(seconds) // 3600}:{time.strftime('%M:%S', time.gmtime(seconds))}"

    def line(self, states: Sequence[State]) -> str:
        """All on one line."""
        return f"{counts_of(states)}  {_epochs(states)}  ETA {self.time_left(states) or '-:--:--'}"

    def picture(self, states: Sequence[State]) -> Table:
        """A bar, the line, and a line for each run that trains; for a terminal."""
        done, total = _epochs_done(states)
        picture = Table.grid()
        picture.add_row(ProgressBar(total=max(total, 1), completed=done, width=60))
        for line in (self.line(states), *running(states)):
            picture.add_row(Text(line, no_wrap=True, overflow="ellipsis"))
        return picture


def running(states: Sequence[State]) -> list[str]:
    """A line for each run that trains: its last epoch, accuracy and name."""
    return [
        f"epoch {state.epoch:>{len(str(state.settings.epochs))}}/{state.settings.epochs}  "
        + ("test   -    " if state.test_accuracy is None else f"test {state.test_accuracy:7.2%}")
        + f"  {state.title}"
        for state in states
        if state.standing == "running"
    ]


def print_results(states: Sequence[State], console: Console) -> None:
    """The table of cells, if there is more than one run, and each run that diverged or failed by its name."""
    for data, table in tables(states) if len(states) > 1 else ():
        console.print(f"{data}: {LEGEND}", soft_wrap=True)
        width = max(console.width, console.measure(table).maximum) if not console.is_terminal else None
        console.print(table, width=width, crop=False)
    for state in states:
        if state.standing in ("diverged", "failed"):
            reason = f": {state.error}" if state.error else ""
            console.print(Text(f"{state.standing}  {state.title}{reason}"), soft_wrap=True)


def counts_of(states: Sequence[State]) -> str:
    """How many runs there are of each standing."""
    counts = Counter(state.standing for state in states)
    parts = [f"{counts[standing]} {standing}" for standing in COUNTED if counts[standing]]
    return f"{len(states)} run{'s' * (len(states) != 1)}: {', '.join(parts)}"


def _epochs_done(states: Sequence[State]) -> tuple[int, int]:
    """Epochs done, and of how many; what a diverged run left out is none."""
    total = sum(state.epoch + state.epochs_left for state in states)
    return sum(state.epoch for state in states), total


def _epochs(states: Sequence[State]) -> str:
    done, total = _epochs_done(states)
    return f"{done}/{total} epochs"
