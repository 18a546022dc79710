import pytest

from tests.helpers.commands import Command


@pytest.fixture
def train(typed_train: Command) -> Command:
    """Sweeps as typed: with workers that a forkserver starts."""
    return typed_train
