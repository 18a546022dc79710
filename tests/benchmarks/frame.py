"""`python -m tests.benchmarks.frame`: seconds to read an output directory with many runs."""

import tempfile
from functools import partial
from pathlib import Path

from src.runs.dataframe import read
from tests.benchmarks.table import QUICK, in_turn, report, seconds, spread
from tests.reporting.synthetic import cell


def main() -> None:
    """Measure and report."""
    rows = []
    for runs in (500,) if QUICK else (500, 2000):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(runs // 10):
                cell(Path(folder), "sgd", 64, 0.001 * (number + 1), [0.9 + seed / 1000 for seed in range(10)])
            (times,) = in_turn({"": partial(seconds, partial(read, Path(folder)))}, 2 if QUICK else 7).values()
        rows.append([f"{runs:,} runs of 20 epochs", *spread(times, 2)])
    report("frame", ["seconds to read", "median", "least", "most"], rows, f"n={len(times)}")


if __name__ == "__main__":
    main()
