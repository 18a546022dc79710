"""`python -m tests.benchmarks.launchers`: seconds of the same study of 8 runs with each launcher."""

import tempfile
import time
from functools import partial
from pathlib import Path

from tests.benchmarks.table import in_turn, report, spread
from tests.helpers.commands import REAL, start

GRID = ("-m", "data=mnist", "model=lenet", "optimizer=sgd,adam", "batch_size=64,256", "seed=0,1", "epochs=1")
LAUNCHERS = ("local", "joblib", "basic")
REPEATS = 3


def whole_command(launcher: str) -> float:
    """Return the seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = start(Path(folder), REAL, *GRID, f"hydra/launcher={launcher}")
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        return time.perf_counter() - began


def main() -> None:
    """Measure and report."""
    times = in_turn({launcher: partial(whole_command, launcher) for launcher in LAUNCHERS}, REPEATS, warm_up=False)
    rows = [
        [
            launcher,
            *spread(seconds),
            *spread([one / local for one, local in zip(seconds, times["local"], strict=True)], 2),
        ]
        for launcher, seconds in times.items()
    ]
    heads = ["seconds of 8 runs", "median", "least", "most", "to local", "least", "most"]
    report("launchers", heads, rows, f"n={REPEATS}")


if __name__ == "__main__":
    main()
