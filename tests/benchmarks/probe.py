"""`python -m tests.benchmarks.probe`: the cost of `probe` as a share of an epoch's training time."""

import itertools
import tempfile
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from src.config.settings import ConfigChoices, Probe, Settings
from src.data import datasets
from src.training.trainer import Training, set_up_process
from tests.benchmarks.steps import NODES
from tests.benchmarks.table import QUICK, in_turn, report, spread
from tests.helpers.commands import REAL
from tests.helpers.runs import run_of


def share(model: str, batch: int, probe: Probe) -> float:
    """Return the seconds of the probes in the second epoch of a run, in percent of its other seconds of training."""
    schedule = {"_target_": "src.schedules.Schedule"}
    settings = Settings("mnist", 0, "half", NODES[model], NODES["adam"], schedule, 5e-4, batch, 2, 0)
    with tempfile.TemporaryDirectory() as folder:
        run = run_of(settings, Path(folder))
        with run.locked():
            set_up_process(threads=1, cores=1)
            training = Training(settings, datasets.load("mnist", str(REAL)), "cpu", probe)
            training.train_in(run, Console(quiet=True), ConfigChoices(model, "adam", "constant"))
        row = run.read()[1][1]
    return 100 * row["probe_seconds"] / row["seconds"]


def main() -> None:
    """Measure and report."""
    if not (REAL / "MNIST" / "raw").is_dir():
        raise SystemExit(f"{REAL}: MNIST is not there; name its folder by DATA_ROOT")
    torch.set_num_threads(1)
    probes: tuple[Probe, ...] = (True,) if QUICK else (True, "sharpness")
    batches = (64,) if QUICK else (64, 1024)
    cases = {
        f"{model}, batch {batch}, probe={str(probe).lower()}": partial(share, model, batch, probe)
        for model, batch, probe in itertools.product(("lenet", "mlp"), batches, probes)
    }
    rows = [[name, *spread(times, 1)] for name, times in in_turn(cases, 1 if QUICK else 3, warm_up=False).items()]
    report("probe", ["% of the training time", "median", "least", "most"], rows, "one core, the second epoch of MNIST")


if __name__ == "__main__":
    main()
