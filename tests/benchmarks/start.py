"""`make bench`: seconds from the command to the first minibatch, by stage."""

import subprocess
import sys
import tempfile

from tests.benchmarks.table import QUICK, report, spread
from tests.helpers.commands import ROOT

REPEATS = 2 if QUICK else 7

# The command, which prints the time of each stage and exits at the first minibatch.
MEASURED = """
import os, sys, time
began = float(sys.argv.pop(1))
def station(name): print(f"{name}={time.time() - began}")
station("interpreter")
import src.train
station("hydra")
import torch
station("torch")
import src.training.lightning
station("lightning")
import src.training.trainer
station("the rest of src")
from src.training.classifier import Classifier
def first(*_):
    station("first minibatch")
    sys.stdout.flush()
    os._exit(0)
Classifier.training_step = first
src.train.main()
"""


def once() -> dict[str, float]:
    """Return the seconds since the command, by stage."""
    with tempfile.TemporaryDirectory() as folder:
        script = ["bash", "-c", 'exec "$0" -c "$1" $(date +%s.%N) "${@:2}"', sys.executable, MEASURED]
        command = [*script, "model=lenet", "optimizer=adam", f"output_dir={folder}"]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    stations = (line.split("=") for line in printed.splitlines() if "=" in line)
    return {name: float(seconds) for name, seconds in stations}


def main() -> None:
    """Measure and report; the first repeat only warms the disk cache."""
    once()
    repeats = [once() for _ in range(REPEATS)]
    rows = [[name, *spread([repeat[name] for repeat in repeats], 2)] for name in repeats[0]]
    report("start", ["seconds since the command", "median", "least", "most"], rows, f"n={REPEATS}")


if __name__ == "__main__":
    main()
