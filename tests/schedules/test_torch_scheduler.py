"""torch's schedulers as schedules: the lr and momentum that they give an optimizer that is stepped with them."""

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as theirs

from src.errors import UserError
from src.schedules.checking import check_schedule
from src.schedules.schedule import Schedule
from src.schedules.torch_scheduler import new_schedule
from tests.helpers.schedulers import stepped

UPDATES, LR = [7, 7, 7, 7], 0.2
TORCH = "torch.optim.lr_scheduler."


CASES: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "OneCycleLR": ({}, theirs.OneCycleLR, {"max_lr": LR, "total_steps": 28}),
    "OneCycleLR by epoch": ({"interval": "epoch"}, theirs.OneCycleLR, {"max_lr": LR, "total_steps": 4}),
    "CyclicLR": (
        {"base_lr": 0.01, "step_size_up": 3}, theirs.CyclicLR, {"base_lr": 0.01, "max_lr": LR, "step_size_up": 3}
    ),
    "CosineAnnealingLR": ({"eta_min": 0.01}, theirs.CosineAnnealingLR, {"T_max": 4, "eta_min": 0.01}),
    "CosineAnnealingLR by update": ({"interval": "update"}, theirs.CosineAnnealingLR, {"T_max": 28}),
    "CosineAnnealingWarmRestarts": ({"T_0": 2}, theirs.CosineAnnealingWarmRestarts, {"T_0": 2}),
    "StepLR": ({"step_size": 2}, theirs.StepLR, {"step_size": 2}),
    "MultiStepLR": ({"milestones": [1, 3]}, theirs.MultiStepLR, {"milestones": [1, 3]}),
    "ConstantLR": ({"interval": "update"}, theirs.ConstantLR, {}),
    "LinearLR": ({}, theirs.LinearLR, {}),
    "ExponentialLR": ({"gamma": 0.5}, theirs.ExponentialLR, {"gamma": 0.5}),
    "PolynomialLR": ({"total_iters": 4}, theirs.PolynomialLR, {"total_iters": 4}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equals_torchs(name: str) -> None:
    node, cls, arguments = CASES[name]
    schedule = new_schedule({"_target_": TORCH + name.split()[0]} | node, 4)
    check_schedule(schedule, LR, 10, 70)
    expected = stepped(cls, 28 if schedule.by_update else 4, LR, **arguments)
    lrs = [lr for epoch in range(4) for lr in schedule.lrs(LR, epoch, UPDATES)]
    momenta = [momentum for epoch in range(4) for momentum in schedule.momenta(LR, epoch, UPDATES)]
    assert lrs == [lr for lr, _ in expected]
    assert momenta == ([momentum for _, momentum in expected] if "Cycl" in name else [])


def test_schedulers_within() -> None:
    linear = {"_target_": TORCH + "LinearLR", "start_factor": 0.1, "total_iters": 5}
    cosine = {"_target_": TORCH + "CosineAnnealingLR", "T_max": 23}
    joined = {"_target_": TORCH + "SequentialLR", "interval": "update", "milestones": [5]}
    schedule = new_schedule(joined | {"schedulers": [linear, cosine]}, 4)

    def both(optimizer: Any) -> Any:
        parts = theirs.LinearLR(optimizer, 0.1, total_iters=5), theirs.CosineAnnealingLR(optimizer, 23)
        return theirs.SequentialLR(optimizer, list(parts), [5])

    expected = [lr for lr, _ in stepped(both, 28, LR)]
    assert [lr for epoch in range(4) for lr in schedule.lrs(LR, epoch, UPDATES)] == expected
    chained = new_schedule({"_target_": TORCH + "ChainedScheduler", "schedulers": [linear, cosine]}, 4)
    check_schedule(chained, LR, 10, 70)

    def one_after_the_other(optimizer: Any) -> Any:
        parts = theirs.LinearLR(optimizer, 0.1, total_iters=5), theirs.CosineAnnealingLR(optimizer, 23)
        return theirs.ChainedScheduler(list(parts), optimizer)

    expected = [lr for lr, _ in stepped(one_after_the_other, 4, LR)]
    assert [chained.lrs(LR, epoch, UPDATES) for epoch in range(4)] == [[lr] for lr in expected]


class PerEpochOrUpdate(theirs.LRScheduler):
    """A scheduler of a user's own."""

    def get_lr(self) -> list[Any]:
        return [base / (self.last_epoch + 1) for base in self.base_lrs]


class Broken(PerEpochOrUpdate):
    def get_lr(self) -> list[Any]:
        return [1 / (2 - self.last_epoch)]


class Negative(PerEpochOrUpdate):
    def get_lr(self) -> list[Any]:
        return [0.1 - self.last_epoch]


def test_one_of_a_users_own() -> None:
    schedule = new_schedule({"_target_": f"{__name__}.PerEpochOrUpdate", "interval": "epoch"}, 3)
    assert [schedule.lrs(LR, epoch, UPDATES) for epoch in range(3)] == [[LR], [LR / 2], [LR / 3]]


class ShrinkingBatch(Schedule):
    def batch_factor(self, epoch: int) -> int:
        return 1 - epoch


class NotANumber(Schedule):
    def decay(self, epoch: int) -> float:
        return float("nan")


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({"_target_": TORCH + "ReduceLROnPlateau"}, "ReduceLROnPlateau wants metrics in every step"),
        ({"_target_": TORCH + "LambdaLR", "lr_lambda": "x"}, "LambdaLR wants lr_lambda, a function"),
        ({"_target_": TORCH + "OneCycleLR", "max_lr": 1}, "schedule.max_lr=1: is set to 0.2 by the run; leave it out"),
        ({"_target_": TORCH + "OneCycleLR", "epochs": 3}, "schedule.epochs: total_steps is set by the run; leave it"),
        ({"_target_": TORCH + "StepLR"}, "StepLR cannot be built from {}: TypeError"),
        ({"_target_": TORCH + "StepLR", "step_size": 2, "gama": 1}, "schedule.gama: StepLR takes no such argument"),
        ({"_target_": TORCH + "StepLR", "step_size": 2, "warmup": 3}, "schedule.warmup: is not for torch's schedulers"),
        ({"_target_": TORCH + "StepLR", "step_size": 2, "warmup_updates": 3}, "schedule.warmup_updates: is not for"),
        ({"_target_": TORCH + "StepLR", "interval": "step"}, "schedule.interval=step: must be one of: epoch, update"),
        ({"_target_": f"{__name__}.Broken"}, "schedule.interval: is missing; say how often"),
        ({"_target_": f"{__name__}.Broken", "interval": "epoch"}, "fails when it is called: ZeroDivisionError"),
        (
            {"_target_": f"{__name__}.Negative", "interval": "epoch"},
            "gives lr=-0.9 in epoch 1; must be a finite number",
        ),
        ({"_target_": f"{__name__}.ShrinkingBatch"}, "batch_factor(1)=0: must be a whole number, 1 or more"),
        ({"_target_": f"{__name__}.NotANumber"}, "gives lr=nan in epoch 0"),
        ({"_target_": "torch.optim.SGD"}, "or of torch.optim.lr_scheduler.LRScheduler; your own Schedule needs"),
    ],
)
def test_what_cannot_be_used_is_one_line(node: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as raised:
        check_schedule(new_schedule(node, 4), LR, 10, 70)
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


class ChangesWeightDecay(PerEpochOrUpdate):
    def get_lr(self) -> list[Any]:
        self.optimizer.param_groups[0]["weight_decay"] = 0.1 * self.last_epoch
        return super().get_lr()


class ReadsWeights(PerEpochOrUpdate):
    def get_lr(self) -> list[Any]:
        return [float(self.optimizer.param_groups[0]["params"][0].norm())]


class ReadsGradients(PerEpochOrUpdate):
    def get_lr(self) -> list[Any]:
        return [float(self.optimizer.param_groups[0]["params"][0].grad.norm())]


class Draws(PerEpochOrUpdate):
    def get_lr(self) -> list[Any]:
        return [float(torch.rand(1))]


class SetsEps(PerEpochOrUpdate):
    def get_lr(self) -> list[Any]:
        self.optimizer.param_groups[0]["eps"] = 1e-3
        return super().get_lr()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("ChangesWeightDecay", "changes weight_decay of the optimizer; only the lr and the momentum can be scheduled"),
        ("SetsEps", "changes eps of the optimizer"),
        ("ReadsWeights", "meta tensors"),
        ("ReadsGradients", "meta tensors"),
        ("Draws", "gives other learning rates when it is called again"),
    ],
)
def test_what_is_no_function_of_the_calls_alone_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(UserError) as raised:
        check_schedule(new_schedule({"_target_": f"{__name__}.{name}", "interval": "update"}, 3), LR, 10, 70)
    assert complaint in str(raised.value)


class Both(Schedule):
    def decay(self, epoch: int) -> float:
        return 1.0

    def decay_by_update(self, update: int, updates: int) -> float:
        return 0.5


def test_two_decays_are_refused() -> None:
    with pytest.raises(UserError, match="Both: defines both decay and decay_by_update; keep one"):
        check_schedule(Both(3), LR, 10, 70)
    check_schedule(Schedule(3), LR, 10, 70)
