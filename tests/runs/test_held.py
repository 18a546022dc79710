"""Whether a run is training, as another user sees it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.runs.directory import Run
from tests.helpers.users import bound_by_permissions


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can look into, but not write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_run_of_another_user_is_seen_to_train(shared: Path) -> None:
    run = Run(shared / "sgd-00000000")
    with run.locked():
        run.directory.chmod(0o755)
        with bound_by_permissions():
            assert Run(run.directory).held
    with bound_by_permissions():
        assert not Run(run.directory).held
    (run.directory / ".lock").touch()
    (run.directory / ".lock").chmod(0)  # not even readable
    with bound_by_permissions():
        assert not Run(run.directory).held
