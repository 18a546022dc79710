"""Hydra's test suite for launchers, run on the local launcher."""

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import LauncherTestSuite
from hydra.version import _UNSPECIFIED_, VersionBase


def test_hydra_discovers_the_launcher() -> None:
    assert "LocalLauncher" in {launcher.__name__ for launcher in Plugins.instance().discover(Launcher)}


@pytest.fixture(autouse=True)
def as_hydra_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset the Hydra version, since these tests assume that none is set, but earlier tests have set one."""
    monkeypatch.setattr(VersionBase.instance(), "version_base", _UNSPECIFIED_)


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", [])])
class TestLocalLauncher(LauncherTestSuite):
    pass
