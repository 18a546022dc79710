"""Runs on disk, read and compared."""

import csv
import json
from pathlib import Path
from typing import Any

import torch

from src.config.settings import ConfigChoices, Settings, directory
from src.runs.checkpoint import DIGEST, quiet_about_sparse_tensors, serialised
from src.runs.directory import Run

TIMED = ("seconds", "evaluation_seconds", "images_per_second")


def run_of(settings: Settings, output: Path) -> Run:
    """Return the run of these settings under an output directory."""
    return Run(output / directory(settings, ConfigChoices("mine", "mine", "mine")))


def the_run(outputs: Path) -> Path:
    """Return the directory of the only run under an output directory."""
    (directory,) = (file.parent for file in outputs.rglob("run.json"))
    return directory


def curve(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv."""
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def state(run: Path) -> tuple[list[dict[str, str]], dict[str, Any], dict[str, Any]]:
    """Return what equal runs share: curve and figures without times, and the checkpoint's weights and optimizer."""
    rows = curve(run)
    for row in rows:
        for key in TIMED:
            del row[key]
    figures = json.loads((run / "run.json").read_text())["figures"]
    del figures["training_seconds"], figures["evaluation_seconds"]
    with quiet_about_sparse_tensors():
        checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    return rows, figures, {"weights": checkpoint["state_dict"], "optimizer": checkpoint["optimizer_states"]}


def assert_same(one: Path, other: Path) -> None:
    (rows, figures, tensors), (other_rows, other_figures, other_tensors) = state(one), state(other)
    assert rows == other_rows
    assert figures == other_figures
    pair = with_numbers_for_texts(tensors), with_numbers_for_texts(other_tensors)
    torch.testing.assert_close(*pair, rtol=0, atol=0, equal_nan=True)


def with_numbers_for_texts(tree: Any) -> Any:
    """Return a tree of containers with the bytes of its texts, which `assert_close` does not compare."""
    if isinstance(tree, dict):
        return {key: with_numbers_for_texts(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [with_numbers_for_texts(value) for value in tree]
    return list(tree.encode()) if isinstance(tree, str) else tree


def renamed(run: Path, changed: dict[str, object]) -> Path:
    """Return the run's folder under the name that the changed settings have, so that its files are intact."""
    record = json.loads((run / "run.json").read_text())
    record["settings"] |= changed
    digest = Settings(**record["settings"]).digest
    (run / "run.json").write_text(json.dumps(record))
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    (run / "last.ckpt").write_bytes(serialised(checkpoint | {DIGEST: digest}))
    target = run.with_name(run.name[:-8] + digest)
    run.rename(target)
    return target
