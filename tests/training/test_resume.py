"""An interrupted and resumed run equals an uninterrupted one, bit for bit."""

import json
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from src import interrupts
from src.config.settings import ConfigChoices, Settings
from src.data.datasets import load
from src.data.images import Images
from src.inference.trained import load_network
from src.interrupts import RESUMES
from src.runs.directory import Run
from src.training.evaluation import figures_on_test
from src.training.trainer import Training, set_up_process
from tests.helpers.commands import Command, Start
from tests.helpers.images import bars
from tests.helpers.runs import assert_same, run_of, state, the_run

pytestmark = pytest.mark.usefixtures("blank_error_figures")


class Stop(Exception):
    pass


def fit(output: Path, settings: Settings, stop_at: int | None = None) -> Run:
    """Train in this process; raise Stop before the `stop_at`-th block."""
    run = run_of(settings, output)
    set_up_process(threads=1, cores=1)
    training = Training(settings, Images(*bars(300, 1), *bars(80, 2)), device="cpu")
    step, blocks = training.classifier.training_step, iter(range(10**9))

    def cut(*arguments: Any) -> None:
        if next(blocks) == stop_at:
            raise Stop
        step(*arguments)

    training.classifier.training_step = cut  # type: ignore[method-assign,assignment]
    with run.locked():
        training.train_in(run, Console(quiet=True), ConfigChoices("mine", "mine", "mine"))
    return run


class Dropping(torch.nn.Sequential):
    """A network with dropout and batch statistics."""

    def __init__(self) -> None:
        layers = torch.nn.Flatten(), torch.nn.Linear(784, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.3)
        super().__init__(*layers, torch.nn.Linear(16, 10))


@pytest.mark.parametrize("optimizer", ["SGD", "Adagrad", "Adam", "RMSprop", "NAdam", "LBFGS"])
@pytest.mark.parametrize("schedule", ["Cosine", "GrowBatch"])
def test_interrupted_anywhere(optimizer: str, schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.training.datamodule.BLOCK", 100)  # several blocks in an epoch of 300 images
    schedule_config: dict[str, Any] = {"_target_": f"src.schedules.{schedule}", "warmup": 1}
    if schedule == "GrowBatch":
        schedule_config |= {"milestones": [2], "factor": 3}
    momentum = {"momentum": 0.9} if optimizer in ("SGD", "RMSprop") else {}
    settings = Settings(
        data="mnist",
        validation=40,
        normalize="half",
        model={"_target_": "tests.training.test_resume.Dropping"},
        optimizer={"_target_": f"torch.optim.{optimizer}"} | momentum,
        schedule=schedule_config,
        lr=0.01,
        batch_size=32,
        epochs=4,
        seed=5,
    )
    alone, cut = fit(tmp_path / "alone", settings), run_of(settings, tmp_path / "cut")
    for stop_at in (1, 4, 3):  # in the first epoch, which is lost; in the second; two epochs later
        with pytest.raises(Stop):
            fit(tmp_path / "cut", settings, stop_at)
        assert cut.record()["status"] == "failed"
        assert not cut.ended
    fit(tmp_path / "cut", settings)
    assert len(cut.record()["sessions"]) == 3  # the first wrote no checkpoint
    assert "error" not in cut.record()
    assert_same(alone.directory, cut.directory)


def test_killed_at_random_moments(train: Command, start_train: Start, tmp_path: Path, small_mnist: Path) -> None:
    command = ("data=digits", "model=lenet", "optimizer=adam", "epochs=20")
    assert train(*command, f"output_dir={tmp_path / 'alone'}").returncode == 0

    moments, epochs = random.Random(0), 0
    for _ in range(3):
        process = start_train(tmp_path / "killed", small_mnist, *command)
        assert process.stdout is not None
        for line in process.stdout:  # kill during, before or after writing one of the next two epochs
            if found := re.search(r"epoch +(\d+)/20", line):
                assert int(found[1]) == epochs + 1  # resumes after the last written epoch
                break
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break
        epochs = len(torch.load(the_run(tmp_path / "killed") / "last.ckpt", weights_only=True)["curve"])
        if epochs == 20:
            break
    assert train(*command, f"output_dir={tmp_path / 'killed'}").returncode == 0
    assert_same(the_run(tmp_path / "alone"), the_run(tmp_path / "killed"))
    assert list((tmp_path / "killed").rglob("*.partial")) == []
    record = json.loads((the_run(tmp_path / "killed") / "run.json").read_text())
    assert len(record["sessions"]) > 2  # it was killed and resumed
    network = load_network(the_run(tmp_path / "killed")).network
    figures = record["figures"]["test_loss"], record["figures"]["test_accuracy"]
    assert figures_on_test(network, load("digits", ""), record["data"]) == figures  # as src.evaluate computes them


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_as_interrupted(
    signum: signal.Signals, code: int, tmp_path: Path, small_mnist: Path, start_train: Start
) -> None:
    command = ("data=digits", "model=lenet", "epochs=500")
    process = start_train(tmp_path, small_mnist, *command)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 2/" in line:
            break
    process.send_signal(signum)
    process.send_signal(signum)  # a shell and make may both send one
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert re.fullmatch(rf"{signum.name}: [1-9]\d* of \d+ epochs {re.escape(RESUMES)}\n", stderr)
    record = json.loads((the_run(tmp_path) / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert (the_run(tmp_path) / "last.ckpt").exists()


def test_a_library_s_error_after_an_interrupt_leaves_the_run_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch.save does, whose C++ turns an exception of its Python callbacks into an error of its own."""

    def interrupted_in_a_library(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except interrupts.Interrupted as interruption:
            raise RuntimeError("the writer failed") from interruption

    network = {"_target_": "src.models.MLP", "hidden": [5]}
    constant, sgd = {"_target_": "src.schedules.Schedule"}, {"_target_": "torch.optim.SGD"}
    settings = Settings("mnist", 0, "half", network, sgd, constant, 0.01, 32, 1, 0)
    run, training = run_of(settings, tmp_path), Training(settings, Images(*bars(300, 1), *bars(80, 2)), "cpu")
    monkeypatch.setattr(Training, "_fit", interrupted_in_a_library)
    monkeypatch.setattr(interrupts, "_interrupts", interrupts._Interrupts())
    before = signal.getsignal(signal.SIGTERM)
    try:
        interrupts.raise_on_signals([signal.SIGTERM])
        with run.locked(), pytest.raises(interrupts.Interrupted):
            training.train_in(run, Console(quiet=True), ConfigChoices("mine", "mine", "mine"))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert run.record()["status"] == "interrupted"


def test_a_signal_ends_a_sweep_in_one_process(tmp_path: Path, small_mnist: Path, start_train: Start) -> None:
    sweep = ("-m", "hydra/launcher=basic", "data=digits", "model=lenet", "epochs=500", "seed=0,1,2")
    process = start_train(tmp_path, small_mnist, *sweep)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/" in line:
            break
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert len(list(tmp_path.rglob("run.json"))) == 1


def settings(lr: float = 0.01, epochs: int = 2) -> Settings:
    model = {"_target_": "src.models.MLP", "hidden": [8, 8, 8]}
    constant = {"_target_": "src.schedules.Schedule"}
    return Settings("mnist", 0, "half", model, {"_target_": "torch.optim.Adam"}, constant, lr, 32, epochs, 0)


def test_a_damaged_checkpoint_is_renamed_and_the_run_starts_over(tmp_path: Path) -> None:
    alone, damaged = fit(tmp_path / "alone", settings()), run_of(settings(), tmp_path / "damaged")
    with pytest.raises(Stop):
        fit(tmp_path / "damaged", settings(), 1)
    content = bytearray(damaged.checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.checkpoint.write_bytes(content)
    fit(tmp_path / "damaged", settings())
    assert len(damaged.record()["sessions"]) == 1
    assert (damaged.directory / "last.ckpt.damaged").read_bytes() == content
    assert_same(alone.directory, damaged.directory)


@pytest.mark.parametrize("lr", [0.01, 1e12])
def test_killed_between_the_last_checkpoint_and_the_record(lr: float, tmp_path: Path) -> None:
    run = fit(tmp_path, settings(lr))
    before = state(run.directory)
    run.update(status="running")
    run.curve_file.unlink()
    fit(tmp_path, settings(lr))
    assert run.record()["status"] == ("finished" if lr < 1 else "diverged")
    assert state(run.directory)[:2] == before[:2]
