"""Synthetic runs, for which the correct report is known."""

from pathlib import Path
from typing import Any

from src.config.settings import RECIPE, ConfigChoices, Settings, directory
from src.reporting.grid import Grid, grids
from src.runs.dataframe import read
from src.runs.directory import Run

NODES: dict[str, dict[str, Any]] = {
    "sgd": {"_target_": "torch.optim.SGD", "momentum": 0.9},
    "adagrad": {"_target_": "torch.optim.Adagrad", "lr_decay": 0.0},
    "adam": {"_target_": "torch.optim.Adam", "eps": 1e-8},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"_target_": "src.schedules.Schedule"},
    "step": {"_target_": "src.schedules.Step", "milestones": [10]},
    "grow_batch": {"_target_": "src.schedules.GrowBatch", "milestones": [10]},
}


def write(
    output: Path,
    settings: Settings,
    names: ConfigChoices,
    accuracy: float | list[float],
    validation_accuracy: float | None = None,
    of_data: dict[str, Any] | None = None,
    code: str | None = None,
    **changes: Any,
) -> Run:
    """Write a finished run with this test accuracy, constant or by epoch.

    `of_data` is more of the record's `data`, such as `largest_class`; `code` the digest of the user's own code.
    """
    run = Run(output / directory(settings, names))
    run.directory.mkdir(parents=True)
    accuracies = accuracy if isinstance(accuracy, list) else [accuracy] * settings.epochs
    rows = [
        {"epoch": epoch, "train_loss": 2.0 / epoch, "train_accuracy": value, "test_loss": 1.0 / epoch}
        | {"test_accuracy": value, "updates": 10 * epoch, "seconds": 2.0}
        for epoch, value in enumerate(accuracies, 1)
    ]
    scored = [f"{split}_{what}" for split in ("train", "test") for what in ("loss", "accuracy")]
    if validation_accuracy is not None:
        scored += ["validation_loss", "validation_accuracy"]
        rows = [row | {"validation_loss": 1.0, "validation_accuracy": validation_accuracy} for row in rows]
    run.write_curve([{key: float(value) for key, value in row.items()} for row in rows])
    figures = {key: rows[-1][key] for key in (*scored, "updates")}
    record = {
        "status": "finished",
        "recipe": RECIPE,
        "names": {"model": names.model, "optimizer": names.optimizer, "schedule": names.schedule},
        "settings": {key: getattr(settings, key) for key in settings.__dataclass_fields__},
        "data": {"name": settings.data, "train": 60_000, "validation": settings.validation, "test": 10_000}
        | {"mean": 0.13, "sha256": "a" * 64}
        | (of_data or {}),
        "sessions": [
            {"began": "2026-01-01T00:00:00+00:00", "device": "cpu", "versions": {"torch": "2.15.0"}, "code": code}
        ],
        "figures": figures | {"epochs": len(rows), "initial_loss": 2.3, "training_seconds": 2.0 * len(rows)},
    }
    run.write(record | changes)
    return run


def cell(
    output: Path,
    optimizer: str,
    batch_size: int,
    lr: float,
    accuracies: list[Any],
    schedule: str = "constant",
    validation: list[float] | None = None,
    name: str = "",
    **more: Any,
) -> list[Run]:
    """Write runs of seeds 0, 1, ... with these test and validation accuracies; None is a diverged run."""
    data, epochs = more.pop("data", "mnist"), more.pop("epochs", 20)
    model = {"_target_": more.pop("model", "src.models.LeNet")}
    node = NODES[optimizer] | ({"_target_": more.pop("of_class")} if "of_class" in more else {})
    runs = []
    for seed, accuracy in enumerate(accuracies):
        settings = Settings(
            data,
            5000 if validation else 0,
            "half",
            model,
            node,
            SCHEDULES[schedule],
            lr,
            batch_size,
            epochs,
            seed,
        )
        changes = more | ({"status": "diverged"} if accuracy is None else {})
        value = 0.1135 if accuracy is None else accuracy
        names = ConfigChoices("lenet", name or optimizer, schedule)
        runs.append(write(output, settings, names, value, validation[seed] if validation else None, **changes))
    return runs


def only(output: Path) -> Grid:
    """Return the grid of all runs below a directory, which have one network and data set."""
    (grid,) = grids(read(output))
    return grid
