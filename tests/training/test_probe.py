"""`probe`: it measures what it says, and changes no bit of the training."""

import csv
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy

from src.config.settings import ConfigChoices, Probe, Settings
from src.data.images import Images
from src.errors import UserError
from src.runs.directory import Run
from src.runs.record import PROBED
from src.schedules import Schedule
from src.training.datamodule import Block
from src.training.probed_classifier import ProbedClassifier
from src.training.trainer import Training, set_up_process
from tests.helpers.commands import Command
from tests.helpers.images import bars
from tests.helpers.runs import TIMED, assert_same, curve, run_of, the_run

pytestmark = pytest.mark.usefixtures("blank_error_figures")

NETWORKS: dict[str, dict[str, Any]] = {
    "lenet": {"_target_": "src.models.LeNet"},
    "dropout and batch statistics": {"_target_": "tests.training.test_resume.Dropping"},
}
ALWAYS = {*PROBED} - {"probed_lr"}  # which only schedules by update have
MEASURED = ALWAYS - {"probe_seconds"}


class Stop(Exception):
    pass


def settings_of(model: str = "lenet", optimizer: str = "Adam", lr: float = 0.003, batch_size: int = 32) -> Settings:
    constant = {"_target_": "src.schedules.Schedule"}
    target = {"_target_": f"torch.optim.{optimizer}"}
    return Settings("mnist", 40, "half", NETWORKS[model], target, constant, lr, batch_size, 3, 1, "shift")


def fit(output: Path, settings: Settings, probe: Probe, stop_after: int | None = None) -> Run:
    """Train on small images, in this process; raise Stop once `stop_after` epochs are on disk."""
    set_up_process(threads=1, cores=1)
    training = Training(settings, Images(*bars(300, 1), *bars(80, 2)), "cpu", probe)
    run, begin = run_of(settings, output), training.classifier.on_train_epoch_start

    def cut() -> None:
        if training.classifier.current_epoch == stop_after:
            raise Stop
        begin()

    training.classifier.on_train_epoch_start = cut  # type: ignore[method-assign]
    with run.locked():
        training.train_in(run, Console(quiet=True), ConfigChoices("mine", "mine", "mine"))
    return run


def without_probe(directory: Path) -> None:
    """Remove the probe's columns from a run's curve."""
    rows: Sequence[dict[str, Any]] = curve(directory)
    kept = [{key: value for key, value in row.items() if key not in PROBED} for row in rows]
    with (directory / "metrics.csv").open("w") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)


def measured(directory: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key in MEASURED} for row in curve(directory)]


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("optimizer", ["SGD", "Adagrad", "Adam"])
def test_no_bit_of_the_training_changes(model: str, optimizer: str, tmp_path: Path) -> None:
    settings = settings_of(model, optimizer)
    plain = fit(tmp_path / "plain", settings, False)
    probed = fit(tmp_path / "probed", settings, "sharpness")
    assert len(measured(probed.directory)[-1]) == len(MEASURED)
    without_probe(probed.directory)
    assert_same(plain.directory, probed.directory)


def test_resumed_as_if_not_interrupted(tmp_path: Path) -> None:
    settings = settings_of("dropout and batch statistics")
    whole = fit(tmp_path / "whole", settings, True)
    with pytest.raises(Stop):
        fit(tmp_path / "cut", settings, True, stop_after=1)
    cut = fit(tmp_path / "cut", settings, True)
    assert measured(cut.directory) == measured(whole.directory)
    for run in (whole, cut):
        without_probe(run.directory)
    assert_same(whole.directory, cut.directory)


def test_epochs_that_were_trained_without_it_are_not_numbers(tmp_path: Path) -> None:
    settings = settings_of()
    with pytest.raises(Stop):
        fit(tmp_path, settings, False, stop_after=1)
    run = fit(tmp_path, settings, True)
    record, rows = run.read()  # raises if the curve were refused
    assert [session["probe"] for session in record["sessions"]] == [False, True]
    assert math.isnan(rows[0]["critical_lr"])
    assert all(row["critical_lr"] > 0 for row in rows[1:])
    assert set(rows[0]) == set(rows[1])


def test_it_measures_the_training_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Critical lr and moments of the first update, computed anew from the minibatch that it trains on."""
    settings = settings_of(optimizer="SGD", lr=0.02, batch_size=50)
    seen: list[tuple[Any, ...]] = []
    train = ProbedClassifier._train_and_measure

    def spied(self: ProbedClassifier, minibatch: Block) -> tuple[torch.Tensor, torch.Tensor]:
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        result = train(self, minibatch)
        after = {name: value.clone() for name, value in self.model.state_dict().items()}
        seen.append((before, after, *next(iter(minibatch)), self.model))
        return result

    monkeypatch.setattr(ProbedClassifier, "_train_and_measure", spied)
    run = fit(tmp_path, settings, True)
    before, after, images, labels, model = seen[0]

    @torch.no_grad()
    def loss(factor: float) -> float:
        model.load_state_dict({name: before[name] + factor * (after[name] - before[name]) for name in before})
        return float(cross_entropy(model(images), labels, reduction="none").double().mean())

    factor = run.read()[1][0]["critical_lr"] / settings.lr
    assert loss(0.97 * factor) < loss(0.0) < loss(1.03 * factor)
    assert all(loss(s) < loss(0.0) for s in np.linspace(0.02, 0.97, 30) * factor)  # it is the least one


def test_the_learning_rate_of_a_step_does_not_change_its_critical_one(tmp_path: Path) -> None:
    """The first update of gradient descent goes from the same weights along the same gradient, whatever its lr."""
    found = []
    for lr in (1e-5, 1e-3, 0.1):  # below, rounding changes the direction of the step
        settings = settings_of(optimizer="SGD", lr=lr, batch_size=260)  # one update an epoch
        found.append(fit(tmp_path / str(lr), settings, True).read()[1][0])
    assert [row["critical_lr"] for row in found] == pytest.approx([found[1]["critical_lr"]] * 3, rel=0.02)
    assert len({row["gradient_noise"] for row in found}) == 1
    assert len({row["noise_scale"] for row in found}) == 1


def test_tensorboard_shows_it(tmp_path: Path) -> None:
    run = fit(tmp_path, settings_of(), "sharpness")
    events = EventAccumulator(str(run.directory)).Reload()
    assert {f"probe/{key}" for key in ALWAYS} <= set(events.Tags()["scalars"])
    rows = run.read()[1]
    assert [event.value for event in events.Scalars("probe/critical_lr")] == pytest.approx(
        [row["critical_lr"] for row in rows]
    )


@pytest.mark.parametrize("model", NETWORKS)
def test_the_update_that_diverges_is_measured(model: str, tmp_path: Path) -> None:
    """Its loss is finite, and its step is so long that the loss after it is not."""
    settings = settings_of(model, optimizer="SGD", lr=1e30, batch_size=260)  # one update an epoch
    record, (row, *_) = fit(tmp_path, settings, "sharpness").read()
    assert record["status"] == "diverged"
    assert row["gradient_noise"] > 0
    assert row["critical_lr"] < 1e30
    assert math.isnan(row["sharpness"])


class Partial(torch.nn.Sequential):
    """A network with a frozen layer, and one that is not used."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(784, 12), torch.nn.Tanh(), torch.nn.Linear(12, 10))
        self[1].requires_grad_(False)
        self.unused = torch.nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self[3](self[2](self[1](self[0](images))))


@pytest.mark.parametrize("optimizer", ["SGD", "Adagrad", "Adam", "RMSprop"])
def test_frozen_and_unused_parameters(optimizer: str, tmp_path: Path) -> None:
    settings = replace(settings_of(optimizer=optimizer), model={"_target_": "tests.training.test_probe.Partial"})
    rows = fit(tmp_path, settings, "sharpness").read()[1]
    assert all(math.isfinite(row[key]) and row[key] > 0 for row in rows for key in ("critical_lr", "sharpness"))


class ToZero(Schedule):
    def decay(self, epoch: int) -> float:
        return float(epoch < 1)


def test_a_schedule_that_ends_at_zero(tmp_path: Path) -> None:
    settings = replace(settings_of(), schedule={"_target_": "tests.training.test_probe.ToZero"})
    rows = fit(tmp_path, settings, "sharpness").read()[1]
    assert rows[0]["critical_lr"] > 0
    assert math.isnan(rows[1]["critical_lr"])  # of no step
    assert rows[1]["stability_limit"] == math.inf
    assert rows[1]["gradient_noise"] > 0


def test_few_training_images(tmp_path: Path) -> None:
    """A chunk of one image would have no batch statistics."""
    settings = replace(settings_of("dropout and batch statistics", batch_size=12), validation=288)
    (row, *_) = fit(tmp_path, settings, True).read()[1]
    assert row["gradient_noise"] > 0


def test_dropout_is_that_of_the_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the loss at factor 0 is the loss of the update itself."""
    seen: list[tuple[float, float]] = []
    train = ProbedClassifier._train_and_measure

    def spied(self: ProbedClassifier, minibatch: Block) -> tuple[torch.Tensor, torch.Tensor]:
        at_start.clear()
        result = train(self, minibatch)
        seen.extend((each, float(result[0])) for each in at_start)
        return result

    def measured_at_start(loss: Callable[[float], float], guess: float) -> float:
        at_start.append(loss(0.0))
        return guess

    at_start: list[float] = []
    monkeypatch.setattr(ProbedClassifier, "_train_and_measure", spied)
    monkeypatch.setattr("src.training.probed_classifier.critical_factor", measured_at_start)
    fit(tmp_path, settings_of("dropout and batch statistics"), True)
    assert len(seen) == 3  # one an epoch
    for ours, of_the_update in seen:
        assert ours == pytest.approx(of_the_update, rel=1e-6)


def test_a_network_without_hessian_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.training.probed_classifier.without_native_code", nullcontext)
    with pytest.raises(UserError, match=r"^probe=sharpness: the network has no Hessian: .*; use probe=true$"):
        fit(tmp_path, settings_of(), "sharpness")


def test_it_can_be_switched_off_again(tmp_path: Path) -> None:
    settings = settings_of()
    with pytest.raises(Stop):
        fit(tmp_path, settings, True, stop_after=1)
    rows = fit(tmp_path, settings, False).read()[1]
    assert rows[0]["critical_lr"] > 0
    assert math.isnan(rows[2]["critical_lr"])


def test_a_fixed_dropout_mask_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, settings_of("dropout and batch statistics"), True)
    assert capsys.readouterr().err == "probe: the critical learning rate is measured with one dropout mask per update\n"


def test_lbfgs_is_refused() -> None:
    with pytest.raises(UserError, match=r"^probe=true: LBFGS evaluates a minibatch several times in an update"):
        Training(settings_of(optimizer="LBFGS"), Images(*bars(300, 1), *bars(80, 2)), "cpu", True)


def test_the_command(train: Command, outputs: Path) -> None:
    ended = train("data=mnist", "epochs=1", "optimizer=sgd")
    assert ended.returncode == 0, ended.stderr
    again = train("data=mnist", "epochs=1", "optimizer=sgd", "probe=true")
    assert "Trained already; force=true trains it again." in again.stdout
    assert "It was trained without probe=true, so its curve lacks the measurements." in again.stdout
    swept = train("-m", "data=mnist", "epochs=1", "optimizer=sgd", "probe=true")
    assert "1 finished run was trained without probe=true" in swept.stderr
    plain = [{key: value for key, value in row.items() if key not in TIMED} for row in curve(the_run(outputs))]
    forced = train("-m", "data=mnist", "epochs=1", "optimizer=sgd", "probe=true", "force=true")
    assert forced.returncode == 0, forced.stderr
    probed = curve(the_run(outputs))
    assert float(probed[0]["critical_lr"]) > 0
    assert plain == [{key: row[key] for key in plain[0]} for row in probed]
    assert "lacks" not in train("data=mnist", "epochs=1", "optimizer=sgd", "probe=true").stdout
