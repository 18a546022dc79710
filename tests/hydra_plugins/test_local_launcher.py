"""Hydra's own tests of a launcher."""

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import LauncherTestSuite


def test_hydra_finds_it() -> None:
    assert "LocalLauncher" in {launcher.__name__ for launcher in Plugins.instance().discover(Launcher)}


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", [])])
class TestLocalLauncher(LauncherTestSuite):
    pass
