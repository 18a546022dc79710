"""`python -m tests.benchmarks.fused`: runs as one model, compared with the same runs one after another.

On a GPU it also measures the assignment's 18 runs, graphs against single launches, and the kernels of a step.
"""

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from src.config.settings import Settings
from src.data import datasets
from src.fused.cuda_graphs import STEPS, CudaGraphs
from src.fused.seed_group import SeedGroup
from src.fused.train_group import made_capturable
from src.training.trainer import Training
from tests.benchmarks.steps import NODES
from tests.benchmarks.table import QUICK, in_turn, report, seconds, spread
from tests.helpers.commands import REAL, start

RUNS = [(optimizer, lr) for optimizer in ("sgd", "adagrad", "adam") for lr in (0.05, 5e-4, 5e-7)]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPOCHS, REPEATS = (1, 1) if QUICK else (20, 3)
TIMES = 80 if DEVICE.type == "cuda" else 16  # steps


def trainings(model: str, batch: int) -> list[Training]:
    """Return the assignment's nine runs of a batch size."""
    mnist = datasets.load("mnist", str(REAL))
    schedule = {"_target_": "src.schedules.Schedule"}
    return [
        Training(
            Settings("mnist", 0, "half", NODES[model], NODES[optimizer], schedule, lr, batch, 1, 0), mnist, DEVICE.type
        )
        for optimizer, lr in RUNS
    ]


def group(model: str, batch: int, graphs: bool) -> tuple[SeedGroup, Callable[[], None]]:
    """Return nine runs as one model, and a function that makes `STEPS` updates of each."""
    members = trainings(model, batch)
    made_capturable(members)
    seed_group = SeedGroup([member.classifier for member in members], members[0].data.to(DEVICE))
    seed_group.begin_epoch(0)
    device = DEVICE if graphs else torch.device("cpu")
    steps = CudaGraphs(lambda minibatch: seed_group.update(minibatch[0]), device, str)
    steps.expect([], [])
    block = torch.arange(STEPS * batch, device=DEVICE).view(STEPS, 1, batch)

    def several() -> None:
        steps(block)
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    return seed_group, several


def together(model: str, batch: int, graphs: bool = True) -> float:
    """Return the microseconds per update of all nine runs as one model."""
    _, several = group(model, batch, graphs)
    several()
    return 1e6 * seconds(several, TIMES // STEPS) / STEPS


def alone(training: Training, batch: int) -> float:
    """Return the microseconds per update of one run."""
    classifier, train = training.classifier, training.data.to(DEVICE).splits["train"]
    classifier.set_rates(0, training.data.updates)
    block = torch.arange(STEPS * batch, device=DEVICE).split(batch)

    def several() -> None:
        classifier.train_on(train[block])
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    several()
    return 1e6 * seconds(several, max(1, TIMES // STEPS // 2)) / STEPS


def one_after_another(model: str, batch: int) -> float:
    """Return the microseconds per update of all nine runs, each alone."""
    return sum(alone(training, batch) for training in trainings(model, batch))


def difference() -> float:
    """Return the largest difference of weights between replays and single launches, over the largest weight."""
    weights: list[Tensor] = []
    for graphs in (True, False):
        seed_group, several = group("lenet", 64, graphs)
        for _ in range(8):
            several()
        weights.append(torch.cat([stacked.flatten(1) for stacked in seed_group.stack.parameters.values()], 1).cpu())
    return ((weights[0] - weights[1]).abs().max() / weights[1].abs().max()).item()


def account(batch: int) -> list[list[str]]:
    """Return the kernels of a replayed step, sorted by time."""
    _, several = group("lenet", batch, True)
    for _ in range(4):
        several()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        several()
    kernels = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)
    total = [sum(event.count for event in kernels), sum(event.self_device_time_total for event in kernels)]
    rows = [[event.key[:60], event.count, event.self_device_time_total] for event in kernels[:12]]
    return [
        [name, f"{count / STEPS:.1f}", f"{microseconds / STEPS:.2f}"]
        for name, count, microseconds in (["all", *total], *rows)
    ]


def study(fuse: str) -> tuple[float, float]:
    """Return the seconds of `+study=assignment`, for the whole command and for training only."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        more = (f"epochs={EPOCHS}", f"hydra.launcher.vectorize={fuse}", "hydra.launcher.workers=1", "device=cuda")
        process = start(Path(folder), REAL, "+study=assignment", *more)
        _, stderr = process.communicate()
        wall = time.perf_counter() - began
        assert process.returncode == 0, stderr
        records = [json.loads(file.read_text()) for file in Path(folder).rglob("run.json")]
    return wall, sum(record["figures"]["training_seconds"] for record in records)


def common() -> float:
    """Return the seconds per epoch of LeNet with automatic optimization and a DataLoader on the same GPU."""
    from tests.benchmarks.common import fit

    began = time.perf_counter()
    fit("lenet", "adam", 5e-4, 64, 1, accelerator="cuda", limit_val_batches=0, logger=False, enable_checkpointing=False)
    return time.perf_counter() - began


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    rows = []
    for model, batch in (("lenet", 64), ("lenet", 256), ("mlp", 64))[: 1 if QUICK else 3]:
        cases = {"one after another": partial(one_after_another, model, batch)}
        cases["as one model"] = partial(together, model, batch, False)
        if DEVICE.type == "cuda":
            cases["as one model, by graphs"] = partial(together, model, batch)
        times = in_turn(cases, REPEATS, warm_up=False)
        rows += [[f"{model}, batch {batch}, 9 runs {name}", *spread(values, 0)] for name, values in times.items()]
    heads = ["microseconds an update of all", "median", "least", "most"]
    report(
        "fused", heads, rows, f"on {torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'one core'}, n={REPEATS}"
    )
    if DEVICE.type != "cuda":
        print("no CUDA device: the 18 runs, graphs and the kernels of a step are not measured")
        return
    print(f"graphs against single launches: weights differ by {difference():.1e} of the largest")
    for batch in (64, 256):
        report(f"fused-step-{batch}", ["kernel of a step of 9 LeNets", "calls", "microseconds"], account(batch))
    measured = {fuse: [study(fuse) for _ in range(REPEATS if fuse == "true" else 1)] for fuse in ("true", "false")}
    rows = []
    for fuse, name in (("true", "as two models"), ("false", "one after another")):
        rows += [
            [f"{name}, {what}", *spread(list(each))]
            for what, each in zip(("all", "training"), zip(*measured[fuse], strict=True), strict=True)
        ]
    epoch = common()
    rows.append(["Lightning, DataLoader, 18 times (from an epoch)", *[f"{18 * EPOCHS * epoch:.1f}"] * 3])
    report("fused-study", [f"seconds of 18 runs, {EPOCHS} epochs", "median", "least", "most"], rows)


if __name__ == "__main__":
    main()
