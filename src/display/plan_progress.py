"""Progress of composing a sweep's jobs."""

import gc
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

QUIET = 3.0  # seconds without a word, and between two lines if there is no terminal
T = TypeVar("T")


def composed(jobs: Iterable[T], total: int) -> Iterator[T]:
    """Yield the jobs as they are composed, and show on stderr how far that is: a bar on a terminal, else lines."""
    console = Console(file=sys.stderr, markup=False, highlight=False)
    columns = TextColumn("composing runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, visible=False)
        told = began = 0.0
        # The collector would search the jobs for garbage again and again, which takes a third of the time.
        gc.disable()
        try:
            for done, job in enumerate(jobs):
                yield job
                now = time.monotonic()
                began = began or now  # after the first job, with which modules are imported and images loaded
                told = told or now
                bar.update(task, completed=done + 1, visible=now - began > QUIET)
                if not console.is_terminal and now - told > QUIET and done + 1 < total:
                    told, left = now, (now - began) / done * (total - done - 1)
                    console.print(f"composed {done + 1:,} of {total:,} runs  ETA {left:.0f} s", soft_wrap=True)
        finally:
            gc.enable()
