"""The command `python -m src.lr_range`, and the files it writes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.config.selection import select
from src.data.datasets import load
from src.range_test.losses import losses_of
from src.runs.range_tests import normalized, range_test_file, read_range_tests
from src.training.trainer import set_up_process
from tests.helpers.commands import ROOT, Command, environment, processes
from tests.helpers.warm import WarmCommands

QUICK = ["data=mnist", "model=mlp", "steps=40"]
NETWORK = "model._target_=tests.range_test.networks."


@pytest.fixture
def lr_range(warm: WarmCommands, small_mnist: Path, tmp_path: Path) -> Command:
    """`python -m src.lr_range ...`, forked from a warm process, its output under tmp_path/outputs."""
    return lambda *arguments: warm.run(
        "src.lr_range", [*arguments, f"output_dir={tmp_path / 'outputs'}"], environment(small_mnist)
    )


def lines(stderr: str) -> list[str]:
    """Return the lines, except the one which says that the small data set is not MNIST."""
    return [line for line in stderr.splitlines() if "these are not the published MNIST files" not in line]


def losses(file: Path) -> list[list[float | None]]:
    return [seed["losses"] for seed in json.loads(file.read_text())["seeds"]]


def test_rows_are_tested_written_and_shown(
    lr_range: Command, outputs: Path, small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*QUICK, "optimizer=sgd,adam", "batch_size=32", "seed=1,0", "lr=7", "epochs=3"]
    ended = lr_range(*words)
    assert ended.returncode == 0, ended.stderr
    assert [line.partition(":")[0] for line in lines(ended.stderr)] == [f"{n} of 4" for n in (1, 2, 3, 4)]
    assert "mnist mlp adam batch 32 seed 0" in ended.stderr
    monkeypatch.setenv("DATA_ROOT", str(small_mnist))
    runs = select([word for word in words if not word.startswith("steps")]).runs
    files = [range_test_file(outputs, *run) for run in runs[::2]]
    folder = outputs / "lr_range" / "mnist" / "mlp"
    assert sorted(folder.glob("[!.]*")) == sorted(
        [*files, *(folder / f"lr_range.{e}" for e in ("csv", "svg", "pdf", "png"))]
    )
    assert f"files  {folder}/lr_range.csv, .svg, .pdf, .png, and a .json per row" in ended.stdout
    assert "next  python -m src.train -m data=mnist model=mlp optimizer=sgd batch_size=32 epochs=3 " in ended.stdout

    set_up_process(1, 1)
    images, lrs = load("mnist", str(small_mnist)), np.geomspace(1e-7, 10, 40)
    for file, (settings, names) in zip(files, runs[::2], strict=True):
        in_process = [losses_of(replace(normalized(settings), seed=s), images, lrs, "cpu") for s in (1, 0)]
        assert losses(file) == in_process
        assert names.optimizer in file.name
    tests, damaged = read_range_tests(outputs)
    assert not damaged
    assert [(test.names.optimizer, test.seeds) for test in tests] == [("adam", (1, 0)), ("sgd", (1, 0))]
    for test in tests:
        assert test.data_sha256 == images.sha256
        assert f"{test.low:.2g} to {test.high:.2g}" in ended.stdout
    rows = list(csv.DictReader((folder / "lr_range.csv").read_text().splitlines()))
    assert [(row["optimizer"], row["seed"]) for row in rows] == [
        ("sgd", "1"),
        ("sgd", "0"),
        ("adam", "1"),
        ("adam", "0"),
    ]
    assert float(rows[-1]["low"]) == tests[0].low

    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert lr_range(*words).returncode == 0
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_the_default_configuration_is_tested_without_words(lr_range: Command, outputs: Path) -> None:
    ended = lr_range("steps=10")
    assert ended.returncode == 0, ended.stderr
    (test,), _ = read_range_tests(outputs)
    assert (test.names.model, test.names.optimizer, test.settings.batch_size) == ("lenet", "adam", 64)


def test_the_table_says_what_was_seen(lr_range: Command, outputs: Path) -> None:
    ended = lr_range(*QUICK, f"{NETWORK}Unlearnable", "seed=0,1")
    assert ended.returncode == 0, ended.stderr
    assert "loss does not fall up to lr 10" in ended.stdout
    (test,), _ = read_range_tests(outputs)
    assert (test.valley, test.diverges, test.low, test.high) == (None, None, 1e-7, 5.0)
    ended = lr_range(*QUICK, f"{NETWORK}NeverFinite", "optimizer=sgd")
    assert "not finite at the first step" in ended.stdout
    (file,) = outputs.rglob("sgd-*.json")
    assert losses(file) == [[None]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["from=small"], "from=small: must be one finite number above 0; try from=1e-7"),
        (["to=1,10"], "to=1,10: must be one finite number above 0; try to=10"),
        (["from=1", "to=1"], "from=1: must be below to=1"),
        (["steps=9"], "steps=9: must be a whole number from 10 to 999999; try steps=500"),
        (["steps="], "steps=: must be a whole number from 10"),
        (["optimzer=sgd"], "optimzer: there is no such key; did you mean optimizer?"),
        (["seed=range(0,0)"], "seed=range(0,0): has no values"),
        (["--optimizer=sgd"], "--optimizer=sgd: is no option; settings have no dashes: optimizer=sgd"),
        (["dry_run=true"], "dry_run=true: does not apply to a range test; leave it out"),
        (["probe=true"], "probe=true: does not apply to a range test; leave it out"),
        (["data=mnist", "batch_size=301"], "batch_size=301: must not be above the 300 training images"),
        (
            ["data=mnist", "model=mlp", "model.hidden=no"],
            "mnist mlp adam batch 64: model: src.models.MLP cannot be built",
        ),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    words: list[str], says: str, lr_range: Command, outputs: Path
) -> None:
    ended = lr_range(*words)
    assert ended.returncode == 2
    (line,) = lines(ended.stderr)
    assert line.startswith(says)
    assert ended.stdout == ""
    assert not outputs.exists()


def test_a_worker_that_dies_fails_its_row_only(lr_range: Command, outputs: Path) -> None:
    killed = f"{NETWORK}Killed,src.models.MLP"
    ended = lr_range(*QUICK, killed, "seed=0,1,2")
    assert ended.returncode == 1
    (line,) = [line for line in lines(ended.stderr) if " of 6: " not in line]
    assert line.startswith(
        "mnist mlp adam batch 64 model._target_ tests.range_test.networks.Killed: its process was ended"
    )
    (test,), damaged = read_range_tests(outputs)
    assert test.seeds == (0, 1, 2)
    assert not damaged


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_all_processes_without_a_traceback(small_mnist: Path, tmp_path: Path) -> None:
    words = ["data=mnist", "model=mlp", "steps=900000", "from=1e-9", "to=1e-8", "seed=0,1"]
    command = subprocess.Popen(
        [sys.executable, "-m", "src.lr_range", *words, f"output_dir={tmp_path / 'outputs'}"],
        cwd=ROOT,
        env=environment(small_mnist),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(processes(command.pid)) < 4 and time.monotonic() < deadline:  # with fork server and resource tracker
        time.sleep(0.1)
    os.killpg(command.pid, signal.SIGINT)
    _, stderr = command.communicate(timeout=30)
    assert lines(stderr) == ["SIGINT: rows whose seeds are all done are written"]
    assert command.returncode == 130
    deadline = time.monotonic() + 20
    while processes(command.pid) and time.monotonic() < deadline:  # the resource tracker ends after the command
        time.sleep(0.1)
    assert processes(command.pid) == []
    assert not (tmp_path / "outputs").exists()


def edited(entry: dict[str, Any], change: str) -> str:
    """Return the content of a damaged file."""
    if change == "no JSON":
        return "{"
    if change == "no object":
        return "[" * 100_000
    key, value = change.split("=")
    where = entry["seeds"][0] if key in ("losses", "valley", "seed") else entry["settings"] if key == "lr" else entry
    if value == "missing":
        del where[key]
    else:
        where[key] = json.loads(value)
    return json.dumps(entry)


def test_damaged_files_are_reported(lr_range: Command, outputs: Path) -> None:
    assert lr_range(*QUICK, "steps=10").returncode == 0
    (file,) = outputs.rglob("*.json")
    intact = file.read_text()
    reasons = {
        "no JSON": "not JSON",
        "no object": "nested too deeply",
        "interval=[2, 1]": "interval: its low end is not below its high end",
        "interval=[1]": "interval: List should have at least 2 items",
        "from=NaN": "from: Input should be a finite number",
        "to=missing": "to: Field required",
        "seeds=[]": "seeds: List should have at least 1 item",
        "losses=[]": "seeds.0.losses: List should have at least 1 item",
        "valley=-1.0": "seeds.0.valley: Input should be greater than 0",
        'seed="0"': "seeds.0.seed: Input should be a valid integer",
        "steps=3": "seeds: a seed occurs twice, or has more losses than there are steps",
        "lr=2.0": "settings: lr, epochs, seed or schedule are not those of a range test",
    }
    for change, reason in reasons.items():
        file.write_text(edited(json.loads(intact), change))
        tests, damaged = read_range_tests(outputs)
        assert tests == []
        assert list(damaged) == [file]
        assert damaged[file].startswith(reason), (change, damaged)
    other = file.with_name("adam-bs64-00000000.json")
    file.rename(other)
    other.write_text(intact)
    _, damaged = read_range_tests(outputs)
    assert damaged[other].startswith("its settings are those of ")
    other.unlink()
    other.mkdir()
    assert read_range_tests(outputs) == ([], {other: "not a regular file"})


def test_range_tests_are_read_without_torch() -> None:
    check = "import sys, src.runs.range_tests; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
