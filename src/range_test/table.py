"""The table of range tests that a terminal shows, and the command that may follow."""

import shlex
from collections.abc import Sequence
from statistics import geometric_mean

import numpy as np
from rich.table import Table

from src.range_test.result import Result

POINTS = {"begins": "begins to fall", "valley": "valley", "steepest": "steepest", "diverges": "diverges"}


def table(results: Sequence[Result]) -> Table:
    """Return a table of learning rates, a line per row: geometric means over seeds, with the range if seeds differ."""
    keys = {
        "data": [result.row.settings.data for result in results],
        "model": [result.row.names.model for result in results],
        "optimizer": [result.row.names.optimizer for result in results],
        "batch": [str(result.row.settings.batch_size) for result in results],
        "settings": [result.row.label.strip() for result in results],
        **{title: [_over_seeds(result, name) for result in results] for name, title in POINTS.items()},
        "try": ["{:.2g} to {:.2g}".format(*result.interval) for result in results],
        "seen": [result.seen for result in results],
    }
    shown = Table()
    optional = ("data", "model", "settings", "seen")
    columns = {key: texts for key, texts in keys.items() if key not in optional or any(texts)}
    for key in ("data", "model"):
        if len(set(columns[key])) == 1:
            del columns[key]
    for key in columns:
        shown.add_column(key, style="bold" if key == "try" else "", overflow="fold")
    for line in zip(*columns.values(), strict=True):
        shown.add_row(*line)
    return shown


def next_command(result: Result) -> str:
    """Return the command that trains three learning rates of a row's interval, evenly spaced on a log scale."""
    dropped = ("lr", "seed", "together")
    settings = [each for each in result.row.overrides if each.partition("=")[0].lstrip("+") not in dropped]
    lrs = ",".join(f"{lr:.2g}" for lr in np.geomspace(*result.interval, 3))
    seeds = f"seed={','.join(map(str, result.row.seeds))}"
    return shlex.join(["python", "-m", "src.train", "-m", *settings, f"lr={lrs}", seeds])


def _over_seeds(result: Result, name: str) -> str:
    values = [value for points in result.points if (value := getattr(points, name)) is not None]
    if not values:
        return "-"
    mean = f"{geometric_mean(values):.2g}"
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    some = "" if len(values) == len(result.points) else f", {len(values)} of {len(result.points)} seeds"
    between = f"{low} to {high}" if low != high else ""
    return f"{mean} ({(between + some).removeprefix(', ')})" if between or some else mean
