"""`python -m tests.benchmarks.launchers`: the same study of 8 runs by each launcher, whole processes, interleaved."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from src.runs.provenance import machine
from tests.conftest import REAL, start

GRID = ("-m", "data=mnist", "model=mlp", "optimizer=sgd,adam", "batch_size=64,256", "seed=0,1", "epochs=5")
LAUNCHERS = ("local", "joblib", "basic")


def seconds(launcher: str) -> float:
    """Of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        process = start(Path(folder), REAL, *GRID, f"hydra/launcher={launcher}")
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        return time.monotonic() - began


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.launchers", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    rounds = [[seconds(launcher) for launcher in LAUNCHERS] for _ in range(parser.parse_args().repeats)]
    print(
        f"{'8 runs by':12}{'seconds':>10}{'least':>8}{'most':>8}{'ratio to local':>18}{'least':>8}{'most':>8}",
        f"n={len(rounds)}",
    )
    for place, launcher in enumerate(LAUNCHERS):
        column = [each[place] for each in rounds]
        ratios = [each[place] / each[0] for each in rounds]
        print(
            f"{launcher:12}{statistics.median(column):10.1f}{min(column):8.1f}{max(column):8.1f}"
            f"{statistics.median(ratios):18.2f}{min(ratios):8.2f}{max(ratios):8.2f}"
        )
    print(machine())


if __name__ == "__main__":
    main()
