"""`python -m tests.benchmarks.steps`: the total time per minibatch of Ravine and of commonly written loops."""

import itertools
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchmetrics  # noqa: F401  # Lightning logs with it; src imports it only if already imported
from rich.console import Console
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.config.settings import ConfigChoices, Settings
from src.data import datasets
from src.data.images import Images
from src.training.trainer import Training, set_up_process
from tests.benchmarks.common import MODELS, OPTIMIZERS, Classifier, loader
from tests.benchmarks.table import GEMM, QUICK, gemm, in_turn, report, seconds, spread
from tests.helpers.commands import REAL
from tests.helpers.runs import run_of

# Floating-point operations per image, forward and backward, without the gradient of the network's input.
OPERATIONS = {
    "lenet": 2 * (2 * 784 * 6 * 25 + 3 * (100 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10)),
    "lenet, 3 x 32 x 32": 2 * (2 * 1024 * 6 * 75 + 3 * (144 * 16 * 150 + 576 * 120 + 120 * 84 + 84 * 10)),
    "mlp": 2 * (2 * 784 * 80 + 3 * (80 * 40 + 40 * 20 + 20 * 10)),
}
NODES: dict[str, dict[str, Any]] = {
    "lenet": {"_target_": "src.models.LeNet"},
    "lenet, 3 x 32 x 32": {"_target_": "src.models.LeNet"},
    "mlp": {"_target_": "src.models.MLP", "hidden": [80, 40, 20]},
    "sgd": {"_target_": "torch.optim.SGD", "momentum": 0.9, "fused": True},
    "adagrad": {"_target_": "torch.optim.Adagrad", "fused": True},
    "adam": {"_target_": "torch.optim.Adam", "fused": True},
}
NETWORKS = ("lenet", "mlp", "lenet, 3 x 32 x 32")
STEPS = 40  # minibatches of the common loops, which are too slow for whole epochs


def ravine(model: str, optimizer: str, batch: int, n: int = 60_000) -> float:
    """Return the seconds per minibatch in the second epoch of a run, including data, metrics and Lightning."""
    images = coloured() if "3 x 32" in model else datasets.load("mnist", str(REAL))
    some = Images(images.train_images[:n], images.train_labels[:n], images.test_images, images.test_labels)
    settings = Settings(
        "mnist", 0, "half", NODES[model], NODES[optimizer], {"_target_": "src.schedules.Schedule"}, 5e-4, batch, 2, 0
    )
    with tempfile.TemporaryDirectory() as folder:
        run = run_of(settings, Path(folder))
        with run.locked():
            set_up_process(threads=1, cores=1)
            training = Training(settings, some, device="cpu")
            training.train_in(run, Console(quiet=True), ConfigChoices(model, optimizer, "constant"))
        first, second = run.read()[1]
    return second["seconds"] / (second["updates"] - first["updates"])


@cache
def coloured() -> Images:
    """Return MNIST's images enlarged to 3 x 32 x 32, as many as CIFAR-10 has."""
    mnist = datasets.load("mnist", str(REAL))
    wide = [np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2))) for images in (mnist.train_images, mnist.test_images)]
    train, test = (np.repeat(images, 3, axis=1) for images in wide)
    return Images(train[:50_000], mnist.train_labels[:50_000], test, mnist.test_labels)


def loop(model: str, optimizer: str, minibatches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the seconds per minibatch of the usual tutorial loop."""
    network = MODELS[model]()
    optimizer_ = OPTIMIZERS[optimizer](network.parameters(), 5e-4)
    served: Iterator[tuple[Tensor, Tensor]] = iter(minibatches)

    def step() -> None:
        pixels, labels = next(served)
        optimizer_.zero_grad()
        cross_entropy(network(pixels), labels).backward()
        optimizer_.step()

    step()
    return seconds(step, STEPS)


def in_memory(model: str, optimizer: str, batch: int) -> float:
    mnist = datasets.load("mnist", str(REAL))
    pixels = torch.from_numpy(mnist.train_images[:20_000]).float() / 255
    labels = torch.from_numpy(mnist.train_labels[:20_000]).long()
    chosen = torch.randperm(20_000).split(batch)
    return loop(model, optimizer, ((pixels[part], labels[part]) for part in chosen))


def lightning(model: str, optimizer: str, batch: int) -> float:
    import pytorch_lightning as pl

    class Clock(pl.Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 1:
                self.began = time.perf_counter()

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.ended = time.perf_counter()

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        pl.Trainer(
            max_epochs=1, limit_train_batches=STEPS + 1, limit_val_batches=0, accelerator="cpu", logger=False,
            default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            callbacks=[clock],
        ).fit(Classifier(model, optimizer, 5e-4), loader(True, batch))  # fmt: skip
    return float(clock.ended - clock.began) / STEPS


def cases(model: str, optimizer: str, batch: int) -> dict[str, Callable[[], float]]:
    """Return a function per program that measures its seconds per minibatch; others than Ravine with Adam only."""
    if "3 x 32" in model or optimizer != "adam":
        return {"Ravine": lambda: ravine(model, optimizer, batch)}
    return {
        "Ravine": lambda: ravine(model, optimizer, batch),
        "torch, tensors in memory": lambda: in_memory(model, optimizer, batch),
        "torch, DataLoader": lambda: loop(model, optimizer, loader(True, batch)),
        "torch, DataLoader with 2 workers": lambda: loop(model, optimizer, loader(True, batch, workers=2)),
        "Lightning, DataLoader": lambda: lightning(model, optimizer, batch),
    }


def main() -> None:
    """Measure and report."""
    if not (REAL / "MNIST" / "raw").is_dir():
        raise SystemExit(f"{REAL}: MNIST is not there; name its folder by DATA_ROOT")
    os.environ["DATA_ROOT"] = str(REAL)
    warnings.simplefilter("ignore")  # Lightning's hints
    torch.set_num_threads(1)
    rows = []
    for model, batch, optimizer in itertools.product(NETWORKS, (64, 256), ("sgd", "adagrad", "adam")):
        if QUICK and (optimizer != "adam" or batch != 64):
            continue
        times = in_turn({"GEMM": gemm} | cases(model, optimizer, batch), 1 if QUICK else 3, warm_up=not QUICK)
        rate, ours = GEMM / statistics.median(times.pop("GEMM")), statistics.median(times["Ravine"])
        for program, measured in times.items():
            median = statistics.median(measured)
            share = f"{batch * OPERATIONS[model] / median / rate:.0%}".replace("%", " %")
            milliseconds = spread([1e3 * each for each in measured], 2)
            epoch, ratio = f"{median * 60_000 / batch:.1f}", f"{median / ours:.1f}"
            rows.append([f"{model}, batch {batch}, {optimizer}, {program}", *milliseconds, epoch, ratio, share])
    heads = ["milliseconds a minibatch", "median", "least", "most", "s an epoch", "to Ravine", "of GEMM"]
    report("steps", heads, rows, "one core (and two more for 2 workers), training alone; GEMM of the same process")


if __name__ == "__main__":
    main()
