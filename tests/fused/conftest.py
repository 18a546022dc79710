"""Fixtures to train groups and single runs in this process."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from src.fused import callback


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no error figures, and write files after each epoch."""

    def blank(*_: Any) -> NDArray[np.uint8]:
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("src.training.error_figure.error_figure", blank)
    monkeypatch.setattr(callback, "PERIOD", 0.0)
    monkeypatch.setattr(callback, "SHARE", 0.0)
