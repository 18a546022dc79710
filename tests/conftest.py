"""Fixtures: small image sets, and the user's commands."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from joblib import cpu_count

from tests.helpers.commands import ROOT, Command, Start, environment
from tests.helpers.images import write_mnist
from tests.helpers.warm import Started, WarmCommands

if TYPE_CHECKING:  # to import these takes seconds, also in the process that only hands out the tests
    from omegaconf import DictConfig

    from tests.helpers.groups import Configs

gc.disable()  # until all is imported

if not os.environ.get("RAVINE_TEST_GPU"):  # as `make test-gpu` sets it
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # only a CPU promises the same bits


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mnist(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommands]:
    """Runs commands without the seconds that imports take."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # by all processes of the tests
    commands = WarmCommands(environment(ROOT), tmp_path_factory.mktemp("commands"), shared)
    yield commands
    commands.close()


def placed(arguments: Sequence[str], folder: Path) -> list[str]:
    """Return the arguments, with folder/outputs as output directory unless they give one."""
    given = any(argument.startswith("output_dir=") for argument in arguments)
    return [*arguments, *([] if given else [f"output_dir={folder / 'outputs'}"])]


@pytest.fixture
def train(warm: WarmCommands, small_mnist: Path, tmp_path: Path) -> Command:
    """`python -m src.train ...`, forked from a warm process, its output under tmp_path/outputs.

    With DRAWN="1", it draws the error figure; otherwise, it writes a blank one.
    """

    def run(*arguments: str, data_root: Path = small_mnist, **extra: str) -> "subprocess.CompletedProcess[str]":
        return warm.run("src.train", placed(arguments, tmp_path), environment(data_root, **extra))

    return run


@pytest.fixture
def start_train(warm: WarmCommands) -> Start:
    """As `tests.helpers.commands.start`, forked from a warm process."""

    def begin(output: Path, data_root: Path, *arguments: str, fork: bool = True, **extra: str) -> Started:
        return warm.start("src.train", [*arguments, f"output_dir={output}"], environment(data_root, **extra), fork)

    return begin


@pytest.fixture
def typed_train(small_mnist: Path, tmp_path: Path) -> Command:
    """`python -m src.train ...` as typed from the repository's root, its output under tmp_path/outputs."""

    def run(*arguments: str, data_root: Path = small_mnist, **extra: str) -> "subprocess.CompletedProcess[str]":
        typed = [sys.executable, "-m", "src.train", *placed(arguments, tmp_path)]
        env: Mapping[str, str] = environment(data_root, **extra)
        return subprocess.run(
            typed, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


STARTS_PROCESSES = {"train", "start_train", "typed_train"}  # fixtures
SLOW = (  # modules that start processes, compile, or take more than some seconds
    "config/test_loader", "fused/test_graph", "fused/test_parity", "fused/test_train_group",
    "fused/test_verification", "hostile/test_checkpoints", "hydra_plugins/", "inference/", "native/test_build",
    "reporting/assignment/test_claims", "reporting/test_charts", "reporting/test_choice",
    "reporting/test_error_figures", "reporting/test_escapes", "reporting/test_page", "runs/test_damage", "sweep/",
    "reporting/test_divergence", "training/test_continuing", "training/test_deferred",
    "training/test_lightning", "training/test_modes",
    "training/test_optimizers", "training/test_own_state", "training/test_resume", "training/test_schedules",
    "training/test_tensorboard",
    "test_bad_input", "test_errors",
    "test_lr_range", "test_readme", "test_report", "test_status",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what `make test-quick` leaves out, and leave out what only `make test-long` runs."""
    if not os.environ.get("RAVINE_TEST_LONG"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    for item in items:
        module = item.path.relative_to(ROOT / "tests").as_posix()
        if STARTS_PROCESSES & set(getattr(item, "fixturenames", ())) or module.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Leave out all that is imported by now when garbage is collected, as libraries do explicitly."""
    gc.enable()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.enable()
    gc.unfreeze()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of commands wait for these about half of the time."""
    return int(cpu_count()) + 1


@pytest.fixture
def blank_error_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no error figures in this process: they take half of a small run."""
    import numpy as np

    monkeypatch.setattr("src.training.error_figure.error_figure", lambda *_: np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def double() -> Iterator[None]:
    """Train all networks in float64, so that differences beyond rounding are errors."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def configs(small_mnist: Path) -> "Configs":
    """Return a function that composes the jobs' configurations as a sweep does."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from src.config.loader import Composer

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composer = Composer(GlobalHydra.instance().config_loader())
        sweep = composer.load_configuration("config", [], RunMode.MULTIRUN)

    def composed(output: Path, common: Sequence[str], each: Sequence[Sequence[str]]) -> "list[DictConfig]":
        data = [] if any(word.startswith("data=") for word in common) else ["data=mnist"]
        places = f"output_dir={output}", f"data_root={small_mnist}", *data, "device=cpu"
        return [composer.load_sweep_config(sweep, [*places, *common, *one]) for one in each]

    return composed
