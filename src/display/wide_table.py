"""Tables that a file shows whole."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def print_table(table: Table, console: Console) -> None:
    """Print a table, cut to the width of a terminal only: a file has no maximal width."""
    if not console.is_terminal:
        uncut = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
        console.width = max(console.width, uncut)
    console.print(table)
