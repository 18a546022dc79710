"""Every command on run folders that a stranger may have sent: no code is run, nothing hangs, no traceback."""

import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.runs.checkpoint import DIGEST, serialised
from tests.conftest import placed
from tests.helpers.commands import environment
from tests.helpers.runs import renamed
from tests.helpers.warm import WarmCommands
from tests.hostile.test_hangs import bomb
from tests.runs.test_damage import CHECKPOINT, CURVE, RECORD

WITHIN = 30.0  # seconds for a command, of which its imports take most


class Trip:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def settings(**changed: Any) -> "Hostile":
    return lambda run, trip: renamed(run, changed)


def record(run: Path, **changed: Any) -> None:
    (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | changed))


def piped(name: str) -> "Hostile":
    def replace(run: Path, trip: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return replace


def linked(name: str, target: str) -> "Hostile":
    def replace(run: Path, trip: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)

    return replace


def content(name: str, text: bytes) -> "Hostile":
    return lambda run, trip: (run / name).write_bytes(text)


def sparse(name: str, size: int) -> "Hostile":
    return lambda run, trip: os.truncate(run / name, size)


def below(name: str, damage: Callable[[Path], None]) -> "Hostile":
    return lambda run, trip: damage(run / name)


def pickled_array(run: Path, trip: Path) -> None:
    np.save(run / "predictions.npy", np.array([Trip(trip)], object), allow_pickle=True)


def pickled_checkpoint(run: Path, trip: Path) -> None:
    torch.save({"curve": [], DIGEST: run.name[-8:], "state_dict": Trip(trip)}, run / "last.ckpt")


def poisoned_checkpoint(run: Path, trip: Path) -> None:
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    checkpoint["snapshot"] = {"roots": {"network": ["object", "os.system", "true"]}}
    (run / "last.ckpt").write_bytes(serialised(checkpoint))


def a_link_to_itself(run: Path, trip: Path) -> None:
    (run / "loop").symlink_to(run.parent)


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\xff\xff\xff\x00\xff\xff\xff\x08\x02"  # claims 10^14 pixels
NUMBERS = b'{"status": "finished", "figures": {"epochs": 1' + b"0" * 5000 + b"}}"
NAMES = dict.fromkeys(("model", "optimizer", "schedule"), "\x1b[2J")
TEXTS, ALL = ("run.json", "metrics.csv"), ("run.json", "metrics.csv", "last.ckpt", "predictions.npy")
Hostile = Callable[[Path, Path], object]  # may return the folder under another name
HOSTILE: dict[str, Hostile] = {
    **{f"{name}: a FIFO": piped(name) for name in (
        "run.json", "metrics.csv", "last.ckpt", "predictions.npy", "error_figure.png", ".hydra/config.yaml",
        ".hydra/overrides.yaml", ".lock",
    )},
    **{f"{name}: /dev/zero": linked(name, "/dev/zero") for name in ("run.json", "metrics.csv", "last.ckpt")},
    **{f"{name}: a link to itself": linked(name, name) for name in (*TEXTS, "last.ckpt", ".lock")},
    **{f"{name}: huge": sparse(name, 2**31) for name in (*TEXTS, "predictions.npy", "error_figure.png")},
    **{f"{name}: no text": content(name, b"\xff\xfe\x00") for name in (*TEXTS, ".hydra/config.yaml")},
    **{f"{name}: empty": content(name, b"") for name in ALL},
    "run.json: deep": content("run.json", b"[" * 100_000),
    "run.json: a list": content("run.json", b"[]"),
    "run.json: huge numbers": content("run.json", NUMBERS),
    "run.json: a stranger's network": settings(model={"_target_": "stranger.Net"}),
    "run.json: a stranger's optimizer": settings(optimizer={"_target_": "stranger.Net"}),
    "run.json: a stranger's schedule": settings(schedule={"_target_": "stranger.Net"}),
    "run.json: a stranger's data": settings(source={"_target_": "stranger.Net"}),
    "run.json: text that steers": lambda run, trip: record(run, names=NAMES),
    "run.json: a path as a name": settings(data="../../../etc"),
    "run.json: a script": lambda run, trip: record(run, error="</script><script>alert(1)</script>", status="failed"),
    "metrics.csv: a formula": content("metrics.csv", b"epoch,train_loss\n=1+1,@x\n"),
    "last.ckpt: a pickle": lambda run, trip: (run / "last.ckpt").write_bytes(pickle.dumps(Trip(trip))),
    "last.ckpt: an archive with a pickle": pickled_checkpoint,
    "last.ckpt: a snapshot that names a function": poisoned_checkpoint,
    "predictions.npy: a pickle": pickled_array,
    "error_figure.png: a bomb": content("error_figure.png", PNG),
    ".hydra/config.yaml: a bomb": content(".hydra/config.yaml", bomb(9)),
    "a link in a circle": a_link_to_itself,
    **{f"run.json: damaged, {name}": below("run.json", damage) for name, damage in RECORD.items()},
    **{f"metrics.csv: damaged, {name}": below("metrics.csv", damage) for name, damage in CURVE.items()},
    **{f"last.ckpt: damaged, {name}": below("last.ckpt", damage) for name, damage in CHECKPOINT.items()},
}  # fmt: skip
SETTINGS = "data=digits", "data.validation=60", "model=mlp", "epochs=2"


@pytest.fixture(scope="session")
def trained(warm: WarmCommands, tmp_path_factory: pytest.TempPathFactory, small_mnist: Path) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for lr in ("lr=0.01", "lr=0.02"):
        assert warm.run("src.train", placed([*SETTINGS, lr], folder), environment(small_mnist)).returncode == 0
    return folder / "outputs"


@pytest.mark.long
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_command_is_misled(kind: str, trained: Path, warm: WarmCommands, tmp_path: Path, small_mnist: Path) -> None:
    outputs, trip, code = tmp_path / "outputs", tmp_path / "tripped", tmp_path / "code"
    shutil.copytree(trained, outputs)
    code.mkdir()
    (code / "stranger.py").write_text(
        f"from pathlib import Path\nPath({str(trip)!r}).touch()\nfrom torch import nn\nclass Net(nn.Linear): pass\n"
    )
    (run,) = outputs.glob("digits/mlp/*-lr0.01-*")
    found = HOSTILE[kind](run, trip)
    run = found if isinstance(found, Path) else run
    image = tmp_path / "one.png"
    shutil.copy(next(iter(trained.rglob("error_figure.png"))), image)
    commands: dict[str, list[str]] = {
        "status": [str(outputs)],
        "report": [f"output_dir={outputs}"],
        "evaluate": [str(run), f"output_dir={outputs}"],
        "predict": [str(run), str(image), "resize=true", f"output_dir={outputs}"],
        "export": [str(run), str(tmp_path / "network.pt2"), f"output_dir={outputs}"],
        "train": [*SETTINGS, "lr=0.01", f"output_dir={outputs}"],
    }
    for command, arguments in commands.items():
        began = time.monotonic()
        ended = warm.run(f"src.{command}", arguments, environment(small_mnist, PYTHONPATH=str(code)))
        assert ended.returncode in (0, 1, 2), (command, ended.stderr)
        assert "Traceback" not in ended.stderr, command
        assert all(each.isprintable() for line in ended.stderr.splitlines() for each in line), command
        assert "\x1b[2J" not in ended.stdout, command
        assert time.monotonic() - began < WITHIN, command
        assert not trip.exists(), command
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"outputs", "code", "one.png", "network.pt2"}
    assert not list(outputs.rglob("*.partial"))
