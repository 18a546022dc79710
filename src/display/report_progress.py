"""Progress of a report."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def reported(total: int) -> Iterator[Callable[[str], None]]:
    """Show on stderr which of `total` parts is being drawn: a bar on a terminal, else a line per part if several.

    The function that it yields is to be called with the title of each part when the part begins.
    """
    console = Console(file=sys.stderr, markup=False, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def begin(title: str) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=title)
            begun += 1
            if total > 1 and not console.is_terminal:
                console.print(f"drawing {begun} of {total}: {title}", soft_wrap=True)

        yield begin
