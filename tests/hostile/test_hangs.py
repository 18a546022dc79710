"""Pipes, devices, and files that are far too large end in one line, within seconds."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.config.conf_files import LARGEST_CONFIG, check_aliases, check_conf
from src.data import idx, image_files
from src.data.arrays import Npz
from src.data.published import read_checked
from src.errors import UserError
from src.files import Damaged, read_file
from src.runs.directory import LARGEST_CURVE, LARGEST_RECORD, Run
from src.runs.range_tests import read_range_tests

WITHIN = 5.0  # seconds


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


READERS: dict[str, Callable[[Path], object]] = {
    "image": image_files.read,
    "npz": lambda file: Npz(str(file)).arrays(),
    "idx": lambda file: idx.read(file, 3),
    "checked": lambda file: read_checked(file, "0" * 32),
    "configuration": lambda file: check_conf([file.parent]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["FIFO", "device", "link to a FIFO"])
def test_a_pipe_or_a_device_is_not_opened(reader: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    if kind == "device":
        file.symlink_to("/dev/zero")
    else:
        pipe = tmp_path / "pipe" if "link" in kind else file
        os.mkfifo(pipe)
        if "link" in kind:
            file.symlink_to(pipe)
    began = time.monotonic()
    with pytest.raises(UserError, match=f"is a {kind.split()[-1]}[,;]? "):
        READERS[reader](file)
    assert time.monotonic() - began < WITHIN


@pytest.mark.parametrize("name", ["run.json", "metrics.csv", ".hydra/config.yaml"])
@pytest.mark.parametrize("kind", ["FIFO", "device", "endless"])
def test_a_run_of_a_stranger_does_not_hang(name: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "sgd-00000000" / name
    file.parent.mkdir(parents=True)
    if kind == "FIFO":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as sparse:
            sparse.truncate(2 * LARGEST_CURVE)
    run, began = Run(tmp_path / "sgd-00000000"), time.monotonic()
    assert run.record() == {}
    assert run.configured("data.path") is None
    assert not run.ended
    assert time.monotonic() - began < WITHIN


def test_records_of_any_real_size_are_read() -> None:
    session = len(str({"command": ["x" * 200] * 20, "versions": dict.fromkeys(map(str, range(50)), "1.2.3")}))
    assert 500 * session < LARGEST_RECORD  # a run that was resumed 500 times
    assert LARGEST_CURVE > 100_000 * 300  # epochs


def test_a_large_range_test_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "lr_range" / "mnist" / "mlp"
    folder.mkdir(parents=True)
    with (folder / "sgd-00000000.json").open("wb") as sparse:
        sparse.truncate(2**27)
    began = time.monotonic()
    tests, damaged = read_range_tests(tmp_path)
    assert not tests
    assert ["larger than" in why for why in damaged.values()] == [True]
    assert time.monotonic() - began < WITHIN


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (bomb(9), "its aliases stand for more than 100,000 values; write them out"),
        (b"a: &a [*a]", "an alias stands for what it is part of"),
        (b"a: " + b"[" * 10**6, "is nested more than 100 deep"),
        (b"a: &a 1\nb: [*a]\nc:\n" + b"- " * 5000, "is nested more than 100 deep"),
    ],
)
def test_aliases_that_explode_are_refused(text: bytes, complaint: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=complaint):
        check_aliases(text)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bomb.yaml").write_bytes(text)
    with pytest.raises(UserError, match=f"bomb.yaml: .*{complaint}"):
        check_conf([tmp_path])
    run = Run(tmp_path / "sgd-00000000")
    (run.directory / ".hydra").mkdir(parents=True)
    (run.directory / ".hydra" / "config.yaml").write_bytes(text)
    assert run.configured("a") is None
    assert time.monotonic() - began < WITHIN


def test_aliases_as_people_use_them_are_read(tmp_path: Path) -> None:
    check_aliases(b"base: &base {lr: 0.1}\nmine: {<<: *base, momentum: 0.9}\nother: [*base, *base]\n")
    check_aliases(b"not: [yaml & *")
    (tmp_path / "large.yaml").write_bytes(b"#" * (LARGEST_CONFIG + 1))
    with pytest.raises(UserError, match=r"has 1,048,577 bytes; a configuration may have 1,048,576"):
        check_conf([tmp_path])


def test_an_archive_that_claims_more_than_the_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "small.npz", x_train=np.zeros((10, 28, 28), np.uint8))
    assert set(Npz(str(tmp_path / "small.npz")).arrays()) == {"x_train"}
    with pytest.raises(Damaged):
        read_file(Path("/dev/zero"))
