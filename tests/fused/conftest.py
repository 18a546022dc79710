"""Fixtures and helpers to train groups and single runs in this process."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig

from src.fused import callback
from tests.helpers.commands import ROOT
from tests.helpers.groups import Configs


@pytest.fixture
def double() -> Iterator[None]:
    """Train all networks in float64, so that differences beyond rounding are errors."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no error figures, and write files after each epoch."""

    def blank(*_: Any) -> NDArray[np.uint8]:
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("src.training.error_figure.error_figure", blank)
    monkeypatch.setattr(callback, "PERIOD", 0.0)
    monkeypatch.setattr(callback, "SHARE", 0.0)


@pytest.fixture
def configs(small_mnist: Path) -> Configs:
    """Return a function that composes the jobs' configurations as Hydra does."""

    def composed(output: Path, common: Sequence[str], each: Sequence[Sequence[str]]) -> list[DictConfig]:
        places = f"output_dir={output}", f"data_root={small_mnist}", "data=mnist", "device=cpu"
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return [compose("config", [*places, *common, *one], return_hydra_config=True) for one in each]

    return composed
