"""Interleaved timings, and their tables."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from src.files import replace_file
from src.runs.provenance import machine
from tests.helpers.commands import ROOT

QUICK = bool(os.environ.get("QUICK"))
GEMM = 2 * 1024**3  # floating-point operations of the product of two 1024 x 1024 matrices


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Return the mean seconds per call."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def in_turn(cases: Mapping[str, Callable[[], float]], repeats: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Measure all cases in turn, `repeats` times, after an optional warm-up round."""
    rounds = [{name: measure() for name, measure in cases.items()} for _ in range(repeats + warm_up)]
    return {name: [each[name] for each in rounds[warm_up:]] for name in cases}


def gemm() -> float:
    """Return the seconds of torch's product of two 1024 x 1024 matrices in this process."""
    one, other = torch.randn(2, 1024, 1024)
    return seconds(lambda: one @ other, 5)


def spread(values: Sequence[float], digits: int = 1) -> list[str]:
    """Format median, least and most."""
    return [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]


def report(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print a table, and write it to outputs/bench/<name>.txt."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in
                  enumerate(zip(row, widths, strict=True)))
        for row in (heads, *rows)
    ]  # fmt: skip
    text = "\n".join([f"{name}: {note}".rstrip(": "), *lines, machine(), ""])
    print(text)
    folder = ROOT / "outputs" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{name}.txt", text.encode())
