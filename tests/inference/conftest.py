from pathlib import Path

import pytest

from tests.helpers.commands import Command, environment
from tests.helpers.warm import WarmCommands


@pytest.fixture
def command(warm: WarmCommands, small_mnist: Path, tmp_path: Path) -> Command:
    """`python -m src.NAME ...` as `command(NAME, ...)`, its runs under tmp_path/outputs."""
    return lambda name, *arguments, **extra: warm.run(
        f"src.{name}", [*map(str, arguments), f"output_dir={tmp_path / 'outputs'}"], environment(small_mnist, **extra)
    )
