"""Groups compared with runs trained alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from rich.console import Console

from src.config.resolve import resolve, without_hydra
from src.runs.directory import Run
from src.training.trainer import Training, set_up_process
from tests.helpers.runs import state

Configs = Callable[..., list[DictConfig]]


def train_alone(config: DictConfig) -> Run:
    """Train a job's run alone, resuming from its checkpoint."""
    resolved = resolve(without_hydra(config), config.hydra.runtime.choices)
    run = Run(resolved.directory)
    set_up_process(threads=1, cores=1)
    training = Training(resolved.settings, resolved.load(), config.device, config.probe)
    with run.locked():
        training.train_in(run, Console(quiet=True), resolved.names)
    return run


def assert_near(one: Path, other: Path, tolerance: float = 1e-10) -> None:
    """Assert that counts are equal, and numbers equal within the tolerance.

    The tolerance of a tensor is relative to its largest element: an optimizer that divides by the size of a gradient,
    as Adam does, amplifies the rounding error of tiny gradients left by cancellation.
    """
    (rows, figures, tensors), (other_rows, other_figures, other_tensors) = state(one), state(other)
    assert len(rows) == len(other_rows)
    for row, other_row in zip(rows, other_rows, strict=True):
        numbers, others = ({key: float(value) for key, value in each.items()} for each in (row, other_row))
        assert numbers == pytest.approx(others, rel=tolerance, nan_ok=True)
    assert figures == pytest.approx(other_figures, rel=tolerance)
    found, expected = leaves(tensors), leaves(other_tensors)
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        if isinstance(value, torch.Tensor):
            atol = tolerance * value.abs().max().item()
            torch.testing.assert_close(found[place], value, rtol=0, atol=atol, equal_nan=True, msg=str(place))
        else:
            assert found[place] == value


def leaves(tree: Any, place: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Return the values in nested dictionaries and lists, by their path."""
    if isinstance(tree, dict | list):
        branches = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {where: leaf for key, branch in branches for where, leaf in leaves(branch, (*place, key)).items()}
    return {place: tree}


def runs_in(output: Path) -> list[Path]:
    """Return the directories of all runs, relative to the output directory."""
    return sorted(file.parent.relative_to(output) for file in output.rglob("run.json"))
