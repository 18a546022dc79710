"""Printed output of a sweep: ended runs, progress and results."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.live import Live

from src.display.eta import EpochTimes
from src.display.next_steps import next_steps
from src.display.sweep_progress import SweepProgress, counts_of
from src.runs.state import State

REPORT = 60.0  # seconds between two lines of progress without a terminal


class SweepLog:
    """Prints to the terminal or a file. `silent`: only warnings, as for another application's jobs."""

    def __init__(self, states: Sequence[State], workers: int, epoch_times: EpochTimes, silent: bool) -> None:
        self.console = Console(markup=False, highlight=False)
        self.workers, self.silent = workers, silent
        self.progress = SweepProgress(workers, epoch_times)
        self.progress.compare(states)
        on_screen = self.console.is_terminal and not silent
        self._live = Live(console=self.console, auto_refresh=False, transient=True) if on_screen else None
        self._reported = time.monotonic()
        self._warned: set[str] = set()

    @property
    def live(self) -> AbstractContextManager[Any]:
        """A context in which a part of the terminal is redrawn."""
        return self._live or nullcontext()

    def preview(self, states: Sequence[State]) -> None:
        """Print what would be trained and how long it would take."""
        for state in states:
            begun = f"  {state.epoch}/{state.settings.epochs} epochs done" if state.epoch and state.epochs_left else ""
            self._say(f"{state.status:<9} {self.progress.display_name(state)}{begun}")
        time_left = self.progress.time_left(states) or "an unknown time (no similar run exists)"
        workers = f"{self.workers} worker{'s' * (self.workers != 1)}"
        self._say(f"{counts_of(states)}; expected to take {time_left} with {workers}")

    def begin(self, states: Sequence[State], group_sizes: Sequence[int]) -> None:
        """Print what is to do; `group_sizes` are the sizes of the groups that are trained as one model."""
        self._say(self.progress.line(states))
        if group_sizes:
            models = f"{len(group_sizes)} model{'s' * (len(group_sizes) > 1)}"
            self._say(f"{sum(group_sizes)} runs will be trained as {models}")

    def ended(self, state: State) -> None:
        """Print how a run ended."""
        accuracy = f"  test {state.test_accuracy:.2%}" if state.test_accuracy is not None else ""
        self._say(f"{state.status:<9} {self.progress.display_name(state)}{accuracy}")

    def failed(self, state: State | None, overrides: str, reason: str) -> None:
        """Print why a job failed; without a state, it is named by its overrides."""
        self.warn(f"failed    {self.progress.display_name(state) if state else overrides}: {reason}")

    def show(self, states: Sequence[State]) -> None:
        """Redraw the progress; without a terminal, print a line of it once a minute."""
        if self._live:
            self._live.update(self.progress.picture(states), refresh=True)
        elif time.monotonic() - self._reported > REPORT:
            self._reported = time.monotonic()
            self._say(self.progress.line(states))

    def results(self, states: Sequence[State], without_run: Iterable[tuple[str, str]], alone: Sequence[str]) -> None:
        """Print the table of results and the failures.

        `without_run`: overrides and reason of failed jobs that have no run; `alone`: why runs were not trained in a
        group.
        """
        if states:
            self.progress.print_results(states, self.console)
        for overrides, reason in without_run:
            self._say(f"failed    {overrides}: {reason}")
        for reason, number in Counter(alone).items():
            self._say(f"{number} run{'s were' if number > 1 else ' was'} trained alone: {reason}")

    def next_steps(self, output: str, overrides: Sequence[str]) -> None:
        """Print the commands that may follow."""
        for line in next_steps(output, overrides):
            self._say(line)

    def warn(self, text: str) -> None:
        """Print to stderr; the same text only once."""
        if text and text not in self._warned:
            self._warned.add(text)
            print(text, file=sys.stderr)

    def _say(self, line: str) -> None:
        if not self.silent:
            self.console.print(line, soft_wrap=True)
            self.console.file.flush()
