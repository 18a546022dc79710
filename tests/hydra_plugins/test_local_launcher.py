"""Hydra's own tests of a launcher."""

import pytest
from hydra import version as hydra_version
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import LauncherTestSuite


def test_hydra_finds_it() -> None:
    assert "LocalLauncher" in {launcher.__name__ for launcher in Plugins.instance().discover(Launcher)}


@pytest.fixture(autouse=True)
def as_hydra_starts(hydra_restore_singletons: None) -> None:
    """Of the version that its tests are written for, whatever tests before these have set."""
    hydra_version.setbase("1.1")


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", [])])
class TestLocalLauncher(LauncherTestSuite):
    pass
