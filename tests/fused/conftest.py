"""Fixtures to train groups and single runs in this process."""

import pytest

from src.fused import callback


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, blank_error_figures: None) -> None:
    """Draw no error figures, and write files after each epoch."""
    monkeypatch.setattr(callback, "PERIOD", 0.0)
    monkeypatch.setattr(callback, "SHARE", 0.0)
