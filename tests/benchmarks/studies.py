"""`python -m tests.benchmarks.studies`: the assignment's 18 runs as a whole command, compared with a common script."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.table import QUICK, in_turn, report, spread
from tests.helpers.commands import REAL, ROOT, environment, start

EPOCHS = 1 if QUICK else 2
RUNS, SOME = (9, ("batch_size=64",)) if QUICK else (18, ())
COMMON = ("optimizer=adam", "batch_size=64") if QUICK else ("optimizer=sgd,adam", "batch_size=64,256")


def ravine() -> float:
    """Return the epochs per second of `+study=assignment`, for the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = start(Path(folder), REAL, "+study=assignment", f"epochs={EPOCHS}", *SOME)
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
    return RUNS * EPOCHS / (time.perf_counter() - began)


def common() -> float:
    """Return the epochs per second of the common script with Hydra's basic launcher, for some of the 18 runs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.common", "-m", *COMMON, f"threads={os.cpu_count()}"]
        began = time.perf_counter()
        subprocess.run(
            [*command, f"hydra.sweep.dir={folder}"], cwd=ROOT, env=environment(REAL), check=True, capture_output=True
        )
    return (1 if QUICK else 4) / (time.perf_counter() - began)


def main() -> None:
    """Measure and report."""
    times = in_turn(
        {"Ravine, +study=assignment": ravine, "Lightning, DataLoader, basic": common}, 1 if QUICK else 3, False
    )
    ours, theirs = times.values()
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    rows = [[name, *spread(rates, 3), f"{60 * statistics.median(rates) / 20:.2f}"] for name, rates in times.items()]
    rows.append(["ratio", *spread(ratios), ""])
    heads = ["epochs a second", "median", "least", "most", "runs of 20 epochs a minute"]
    report(
        "studies",
        heads,
        rows,
        f"LeNet, evaluation and checkpoints included, {RUNS} runs of {EPOCHS} epochs, n={len(ours)}",
    )


if __name__ == "__main__":
    main()
