"""Runs whose lr and momentum change in every update equal plain loops with torch's scheduler."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from src.config.settings import Settings
from src.data.images import Images
from src.errors import UserError
from src.fused.compatibility import why_incompatible
from src.native.build import backend, without_native_code
from src.runs.dataframe import read
from src.training.datamodule import minibatches
from src.training.trainer import Training
from tests.helpers.commands import Command
from tests.helpers.groups import assert_near, runs_in
from tests.helpers.images import bars
from tests.helpers.runs import assert_same, curve, run_of
from tests.training.test_own_state import IMAGES, Killed, train

pytestmark = pytest.mark.usefixtures("blank_error_figures")

EPOCHS, LR, BATCH = 3, 0.02, 32
MLP: dict[str, Any] = {"_target_": "src.models.MLP", "hidden": [12]}
ONE_CYCLE: dict[str, Any] = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "pct_start": 0.4}
COSINE: dict[str, Any] = {"_target_": "src.schedules.CosineByUpdate"}
HEAD = {"params": "last_layer", "lr_factor": 0.1}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"_target_": "torch.optim.SGD", "momentum": 0.9},
    "Adam": {"_target_": "torch.optim.Adam", "fused": True},
    "groups": {"_target_": "torch.optim.SGD", "momentum": 0.9, "groups": [HEAD]},
}


def settings(optimizer: dict[str, Any], schedule: dict[str, Any], epochs: int = EPOCHS) -> Settings:
    return Settings("mine", 0, "half", MLP, optimizer, schedule, LR, BATCH, epochs, 3)


def plain(name: str, schedule: dict[str, Any]) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    layers = nn.Linear(784, 12), nn.ReLU(), nn.Linear(12, 10)
    model = nn.Sequential(nn.Flatten(), *layers)
    groups: Any = model.parameters()
    if name == "groups":
        groups = [{"params": layers[0].parameters()}, {"params": layers[2].parameters(), "lr": LR / 10}]
    optimizer: Optimizer = Adam(groups, lr=LR, fused=True) if name == "Adam" else SGD(groups, lr=LR, momentum=0.9)
    images = torch.from_numpy(IMAGES.train_images).float().div(255).sub(0.5).div(0.5)
    labels = torch.from_numpy(IMAGES.train_labels).long()
    updates = EPOCHS * -(-len(labels) // BATCH)
    top = [LR, LR / 10] if name == "groups" else LR
    scheduler: Any = (
        OneCycleLR(optimizer, top, updates, pct_start=0.4)
        if schedule is ONE_CYCLE
        else CosineAnnealingLR(optimizer, updates)
    )
    for epoch in range(EPOCHS):
        for indices in minibatches(3, epoch, BATCH, len(labels)):
            loss = cross_entropy(model(images[indices]), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step() if scheduler.last_epoch < updates - 1 else None
    return model.state_dict()


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("schedule", [ONE_CYCLE, COSINE])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_plain_loop_gives_the_same_weights(
    name: str, schedule: dict[str, Any], native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend().startswith("native")
    if not native:
        monkeypatch.setattr("src.native.build.backend", lambda: "torch: switched off")
    run = train(tmp_path, settings(OPTIMIZERS[name], schedule))
    weights = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    exact = not native and schedule is ONE_CYCLE and name != "groups"  # others round the lr otherwise
    for ours, theirs in zip(weights.values(), plain(name, schedule).values(), strict=True):
        if exact:
            assert torch.equal(ours, theirs)
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5 if name != "Adam" else 2e-3)
    last = curve(run.directory)[-1]
    assert (float(last.get("momentum", "nan")) == pytest.approx(0.95)) == (schedule is ONE_CYCLE)
    assert float(last["lr"]) < LR / 100
    assert bool(run.record()["slow"]) == (not native or name == "groups")


@pytest.mark.parametrize("schedule", [ONE_CYCLE, COSINE])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_killed_and_resumes(name: str, schedule: dict[str, Any], tmp_path: Path) -> None:
    alone = train(tmp_path / "alone", settings(OPTIMIZERS[name], schedule))
    for epoch in (1, 2):
        with pytest.raises(Killed):
            train(tmp_path / "cut", settings(OPTIMIZERS[name], schedule), epoch)
    assert_same(alone.directory, train(tmp_path / "cut", settings(OPTIMIZERS[name], schedule)).directory)


def test_a_longer_run_goes_on_only_if_all_updates_are_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    constant = {"_target_": "src.schedules.Schedule", "warmup_updates": 9}
    for schedule, goes_on in ((COSINE, False), (ONE_CYCLE, False), (constant, True)):
        train(tmp_path / "both", settings(OPTIMIZERS["SGD"], schedule, 2))
        capfd.readouterr()
        longer = train(tmp_path / "both", settings(OPTIMIZERS["SGD"], schedule))
        assert ("goes on from the 2 epochs" in capfd.readouterr().err) == goes_on
        assert_same(train(tmp_path / "alone", settings(OPTIMIZERS["SGD"], schedule)).directory, longer.directory)


def test_a_momentum_needs_an_optimizer_that_has_one() -> None:
    with pytest.raises(UserError, match=r"Adagrad has none; for torch's schedulers, add \+\+schedule.cycle_momentum"):
        Training(settings({"_target_": "torch.optim.Adagrad"}, ONE_CYCLE), IMAGES, "cpu")


def test_runs_of_mixed_schedules_are_trained_as_alone(train: Command, outputs: Path, tmp_path: Path) -> None:
    common = "-m", "data=digits", "model=mlp", "optimizer=sgd", "epochs=3", "schedule=constant,linear,cosine"
    grouped = train(*common, "hydra.launcher.vectorize=true")
    assert grouped.returncode == 0, grouped.stderr
    assert "1 run was trained alone: the schedule changes the lr in every update" in grouped.stdout
    assert train(*common, f"output_dir={tmp_path / 'alone'}").returncode == 0
    for run in runs_in(outputs):
        lrs = [[row["lr"] for row in curve(each / run)] for each in (outputs, tmp_path / "alone")]
        assert lrs[0] == lrs[1]
        assert_near(outputs / run, tmp_path / "alone" / run, 1e-3)


class LateMomentum(LRScheduler):
    def get_lr(self) -> list[Any]:
        if self.last_epoch > 2:
            self.optimizer.param_groups[0]["momentum"] = 0.5
        return self.base_lrs


def test_a_momentum_that_is_set_only_later_is_refused() -> None:
    for interval in ("epoch", "update"):
        schedule = {"_target_": f"{__name__}.LateMomentum", "interval": interval}
        with pytest.raises(UserError, match="or no momentum in any"):
            Training(settings(OPTIMIZERS["SGD"], schedule, 5), IMAGES, "cpu")


@pytest.mark.parametrize("begins_with_it", [True, False])
def test_a_probe_that_is_switched_in_between_leaves_the_run_intact(begins_with_it: bool, tmp_path: Path) -> None:
    wanted = settings(OPTIMIZERS["SGD"], COSINE)
    with pytest.raises(Killed):
        train(tmp_path, wanted, 2, probe=begins_with_it)
    run = train(tmp_path, wanted, probe=not begins_with_it)
    assert len(run.read()[1]) == EPOCHS
    assert run.ended
    assert len(read(tmp_path).curves) == EPOCHS


def test_an_lr_of_zero_hides_no_group(tmp_path: Path) -> None:
    to_zero = {"_target_": "torch.optim.lr_scheduler.PolynomialLR", "total_iters": 2}
    run = train(tmp_path, settings(OPTIMIZERS["groups"], to_zero, 4))
    assert [float(row["lr_group2"]) for row in curve(run.directory)] == [0.1 * LR, 0.05 * LR, 0, 0]
    assert len(read(tmp_path).curves) == 4


def test_one_group_may_learn_at_a_share_of_the_lr(tmp_path: Path) -> None:
    one = OPTIMIZERS["SGD"] | {"groups": [{"params": "*", "lr_factor": 0.1}]}
    run = train(tmp_path, settings(one, COSINE))
    with without_native_code():
        other = train(tmp_path / "torch", settings(one, COSINE))
    weights, theirs = (torch.load(each.checkpoint, weights_only=True)["state_dict"] for each in (run, other))
    for key in weights:
        torch.testing.assert_close(weights[key], theirs[key], rtol=1e-3, atol=1e-6)
    slower = train(tmp_path / "slower", replace(settings(OPTIMIZERS["SGD"], COSINE), lr=0.1 * LR))
    torch.testing.assert_close(
        weights["model.linear2.weight"],
        torch.load(slower.checkpoint, weights_only=True)["state_dict"]["model.linear2.weight"],
        rtol=1e-3, atol=1e-6,
    )  # fmt: skip


class WithoutLr(SGD):
    """Keeps its lr under another key."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.param_groups[0]["step_size"] = self.param_groups[0].pop("lr")

    def step(self, closure: Any = None) -> Any:
        closure()
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter -= self.param_groups[0]["step_size"] * parameter.grad


class Idle(SGD):
    def step(self, closure: Any = None) -> Any:
        closure()


def test_groups_without_an_lr_cannot_be_scheduled(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    without = {"_target_": f"{__name__}.WithoutLr"}
    with pytest.raises(UserError, match="changes the lr, which the groups of WithoutLr do not have"):
        Training(settings(without, COSINE), IMAGES, "cpu")
    run = train(tmp_path, settings(without, {"_target_": "src.schedules.Schedule"}))
    assert {row["lr"] for row in curve(run.directory)} == {str(LR)}
    assert "no weight has changed" not in capfd.readouterr().err
    train(tmp_path, settings({"_target_": f"{__name__}.Idle"}, COSINE))
    assert "no weight has changed in the first epoch: does the optimizer's step use" in capfd.readouterr().err


def test_a_schedule_free_optimizer_undoes_its_evaluation_by_the_momentum_that_made_it(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []

    class Noting(SGD):
        def train(self) -> None:
            seen.append(("train", self.param_groups[0]["momentum"]))

        def eval(self) -> None:
            seen.append(("eval", self.param_groups[0]["momentum"]))

    globals()["Noting"] = Noting
    wanted = settings({"_target_": f"{__name__}.Noting", "momentum": 0.9}, ONE_CYCLE)
    train(tmp_path, wanted)
    ended = [momentum for mode, momentum in seen if mode == "eval"]
    begun = [momentum for mode, momentum in seen if mode == "train"]
    assert begun[1:] == ended[: len(begun) - 1]


def test_a_momentum_of_zero(tmp_path: Path) -> None:
    falling = ONE_CYCLE | {"base_momentum": 0.0}
    run = train(tmp_path, settings(OPTIMIZERS["SGD"], falling))
    with without_native_code():
        other = train(tmp_path / "torch", settings(OPTIMIZERS["SGD"], falling))
    weights, theirs = (torch.load(each.checkpoint, weights_only=True)["state_dict"] for each in (run, other))
    for key in weights:
        torch.testing.assert_close(weights[key], theirs[key], rtol=1e-3, atol=1e-6)


def test_it_is_not_trained_in_a_group() -> None:
    images = Images(*bars(64, 1), *bars(20, 2))
    reason = why_incompatible(Training(settings(OPTIMIZERS["SGD"], COSINE), images, "cpu"))
    assert reason == "the schedule changes the lr in every update"


def test_a_probe_compares_the_critical_lr_with_the_lr_of_its_update(tmp_path: Path) -> None:
    from rich.console import Console

    from src.config.settings import ConfigChoices

    run = run_of(settings(OPTIMIZERS["SGD"], COSINE), tmp_path)
    with run.locked():
        training = Training(settings(OPTIMIZERS["SGD"], COSINE), IMAGES, "cpu", probe=True)
        training.train_in(run, Console(quiet=True), ConfigChoices("mine", "mine", "mine"))
    for epoch, row in enumerate(curve(run.directory)):
        lrs = training.data.schedule.lrs(LR, epoch, training.data.updates)
        assert float(row["probed_lr"]) == lrs[len(lrs) // 2]
        assert float(row["lr"]) == lrs[-1]
