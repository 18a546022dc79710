"""Groups and runs alone, in this process and in double precision."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console

from src.data import datasets
from src.fused import callback
from src.runs.directory import Run
from src.sweep.job import Job
from src.training.trainer import Training, set_up_process
from tests.conftest import ROOT, state

Configs = Callable[..., list[DictConfig]]


@pytest.fixture
def double() -> Iterator[None]:
    """All networks in float64, so that only wrong formulas are far from right ones."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, and files after each epoch."""

    def blank(*_: Any) -> NDArray[np.uint8]:
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("src.training.error_figure.error_figure", blank)
    monkeypatch.setattr(callback, "PERIOD", 0.0)
    monkeypatch.setattr(callback, "SHARE", 0.0)


@pytest.fixture
def configs(small_mnist: Path) -> Configs:
    """What Hydra would give the jobs of these overrides."""

    def composed(output: Path, common: Sequence[str], each: Sequence[Sequence[str]]) -> list[DictConfig]:
        places = f"output_dir={output}", f"data_root={small_mnist}", "data=mnist", "device=cpu"
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return [compose("config", [*places, *common, *one], return_hydra_config=True) for one in each]

    return composed


def train_alone(config: DictConfig) -> Run:
    """The run of a job, by itself; it goes on where it was."""
    job = Job(config)
    assert job.run
    assert job.state
    settings = job.state.settings
    set_up_process(threads=1, cores=1)
    training = Training(settings, datasets.load(settings.data, str(config.data_root)), config.device)
    with job.run.locked():
        training.train_in(job.run, Console(quiet=True), job.state.names, list(config.data.classes))
    return job.run


def assert_near(one: Path, other: Path, tolerance: float = 1e-10) -> None:
    """Counts are the same exactly, and all else but for rounding.

    Of a tensor's elements no error may exceed that share of its largest: an optimizer that divides by the size of a
    gradient, as Adam does, makes of two tiny ones, which cancellation has left, two updates of visible size.
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
    """What nested dictionaries and lists hold, by the way to it."""
    if isinstance(tree, dict | list):
        branches = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {where: leaf for key, branch in branches for where, leaf in leaves(branch, (*place, key)).items()}
    return {place: tree}


def runs_in(output: Path) -> list[Path]:
    """The directories of all runs, relative to an output directory."""
    return sorted(file.parent.relative_to(output) for file in output.rglob("run.json"))
