"""`python -m tests.benchmarks.growth`: how cost grows with batch size, images and runs."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tests.benchmarks.steps import ravine
from tests.benchmarks.table import QUICK, in_turn, report, spread
from tests.helpers.commands import ROOT, start

BATCHES = (16, 64, 256, 1024, 4096)


def study(runs: int) -> float:
    """Return the seconds of a whole command."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = start(Path(folder), ROOT, "-m", "data=digits", "model=mlp", "epochs=5", f"seed=range({runs})")
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
        return time.perf_counter() - began


def a_million(batch: int, n: int) -> float:
    """Return the seconds for a million images in minibatches of this size."""
    return 1e6 / batch * ravine("lenet", "sgd", batch, n)


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    repeats, n = (1, 7_500) if QUICK else (3, 60_000)
    cases: dict[str, Callable[[], float]] = {
        f"a million images, batch {batch}": partial(a_million, batch, n) for batch in BATCHES
    }
    cases |= {f"a million images, of {n // part:,}": partial(a_million, 64, n // part) for part in (8, 4, 2)}
    cases |= {f"a study of {runs} small runs": partial(study, runs) for runs in ((1,) if QUICK else (1, 4, 16, 32))}
    rows = [[name, *spread(values, 2)] for name, values in in_turn(cases, repeats, warm_up=False).items()]
    report("growth", ["seconds", "median", "least", "most"], rows, f"LeNet with SGD on one core; n={repeats}")


if __name__ == "__main__":
    main()
