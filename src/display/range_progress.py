"""Progress of learning rate range tests."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def range_progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show on stderr how many of `total` tests have ended: a bar with ETA on a terminal, else a line per test.

    The function that it yields is to be called with the name of each test that has ended, empty if it failed.
    """
    console = Console(file=sys.stderr, markup=False, highlight=False)
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        done = 0

        def ended(name: str) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, description=name)
            if name and not console.is_terminal:
                console.print(f"{done} of {total}: {name}", soft_wrap=True)

        yield ended
