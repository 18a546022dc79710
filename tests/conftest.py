"""Fixtures: small image sets, and the user's commands."""

import csv
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joblib import cpu_count
from numpy.typing import NDArray

from src.config.settings import ConfigChoices, Settings, directory
from src.runs.directory import Run
from tests.helpers.warm import WarmCommands

ROOT = Path(__file__).parent.parent
if not os.environ.get("RAVINE_TEST_GPU"):  # as `make test-gpu` sets it
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # only a CPU promises the same bits
REAL = Path(os.environ.get("DATA_ROOT", ROOT / "data")).absolute()
needs_mnist = pytest.mark.skipif(not (REAL / "MNIST" / "raw").is_dir(), reason="no MNIST under DATA_ROOT or data/")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an IDX file after the format's description: big-endian, type 8, dimensions, sizes, bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def bars(n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (n, 28, 28) of a bright bar in noise and labels (n,): the bar's row, learnt in a few updates."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n).astype(np.uint8)
    images = rng.integers(0, 120, (n, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label : 4 + 2 * label, 4:24] = 220
    return images, labels


def write_mnist(root: Path, train: int = 300, test: int = 80, name: str = "MNIST") -> Path:
    """Create a data root with a small data set in MNIST's files."""
    for split, n, seed in (("train", train, 1), ("t10k", test, 2)):
        images, labels = bars(n, seed)
        write_idx(root / name / "raw" / f"{split}-images-idx3-ubyte", images)
        write_idx(root / name / "raw" / f"{split}-labels-idx1-ubyte", labels)
    return root


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mnist(tmp_path_factory.mktemp("data"))


def environment(data_root: Path, **extra: str) -> dict[str, str]:
    """Return an environment without network: the proxies are a closed local port, which refuses at once."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "RAVINE_TRACEBACK")}
    refused = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return kept | refused | {"DATA_ROOT": str(data_root), "NO_PROXY": "", "no_proxy": ""} | extra


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommands]:
    """Runs commands without the seconds that imports take."""
    commands = WarmCommands(environment(ROOT), tmp_path_factory.mktemp("commands"))
    yield commands
    commands.close()


@pytest.fixture
def train(warm: WarmCommands, small_mnist: Path, tmp_path: Path) -> Command:
    """`python -m src.train ...`, forked from a warm process, its output under tmp_path/outputs."""

    def run(*arguments: str, data_root: Path = small_mnist, **extra: str) -> "subprocess.CompletedProcess[str]":
        place = (
            [] if any(each.startswith("output_dir=") for each in arguments) else [f"output_dir={tmp_path / 'outputs'}"]
        )
        return warm.run("src.train", [*arguments, *place], environment(data_root, **extra))

    return run


@pytest.fixture
def typed_train(small_mnist: Path, tmp_path: Path) -> Command:
    """`python -m src.train ...` as typed from the repository's root, its output under tmp_path/outputs."""

    def run(*arguments: str, data_root: Path = small_mnist, **extra: str) -> "subprocess.CompletedProcess[str]":
        typed = [sys.executable, "-m", "src.train", *arguments]
        if not any(argument.startswith("output_dir=") for argument in arguments):
            typed.append(f"output_dir={tmp_path / 'outputs'}")
        env: Mapping[str, str] = environment(data_root, **extra)
        return subprocess.run(
            typed, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )

    return run


def own_choice(folder: Path, choice: str, yaml: str, module: str = "") -> tuple[str, str]:
    """Write a user-defined `choice`, such as model/mine, and its `module`, mine.py; return the arguments to find it."""
    file = folder / "conf" / f"{choice}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml)
    if module:
        (folder / f"{file.stem}.py").write_text(module)
    return "--config-dir", str(folder / "conf")


def run_of(settings: Settings, output: Path) -> Run:
    """Return the run of these settings under an output directory."""
    return Run(output / directory(settings, ConfigChoices("mine", "mine", "mine")))


def the_run(outputs: Path) -> Path:
    """Return the directory of the only run under an output directory."""
    (directory,) = (file.parent for file in outputs.rglob("run.json"))
    return directory


def curve(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv."""
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


TIMED = ("seconds", "evaluation_seconds", "images_per_second")


def state(run: Path) -> tuple[list[dict[str, str]], dict[str, Any], dict[str, Any]]:
    """Return what equal runs share: curve and figures without times, and the checkpoint's weights and optimizer."""
    rows = curve(run)
    for row in rows:
        for key in TIMED:
            del row[key]
    figures = json.loads((run / "run.json").read_text())["figures"]
    del figures["training_seconds"], figures["evaluation_seconds"]
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    return rows, figures, {"weights": checkpoint["state_dict"], "optimizer": checkpoint["optimizer_states"]}


def assert_same(one: Path, other: Path) -> None:
    (rows, figures, tensors), (other_rows, other_figures, other_tensors) = state(one), state(other)
    assert rows == other_rows
    assert figures == other_figures
    torch.testing.assert_close(tensors, other_tensors, rtol=0, atol=0, equal_nan=True)


def start(output: Path, data_root: Path, *arguments: str, **extra: str) -> "subprocess.Popen[str]":
    """Start the command in its own session."""
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *arguments, f"output_dir={output}"],
        cwd=ROOT,
        env=environment(data_root, **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes(session: int) -> list[int]:
    """Return the live processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of commands wait for these about half of the time."""
    return int(cpu_count()) + 1
