"""A scheduler of torch's as a schedule."""

import json
import pkgutil
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from src.errors import UserError, one_line
from src.instantiate import instantiate
from src.schedules.schedule import Schedule

BY_UPDATE = ("OneCycleLR", "CyclicLR")  # in the examples of their documentation; others are called once an epoch
ONLY = "only the lr and the momentum can be scheduled, by the number of calls alone"
NOT_SET = 0.123456789  # a momentum that no scheduler sets


@dataclass(frozen=True)
class TorchScheduler(Schedule):
    """The lr, and the momentum if it is set, that a torch scheduler gives an optimizer when called as `interval` says.

    The scheduler is called on an optimizer without a network, so it can only be a function of the number of calls.
    """

    node: dict[str, Any] = field(default_factory=dict)
    interval: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval not in ("epoch", "update"):
            raise ValueError(f"interval={self.interval}: must be one of: epoch, update")
        if self.warmup or self.warmup_updates:
            key = "warmup" if self.warmup else "warmup_updates"
            raise ValueError(
                f"{key}: is not for torch's schedulers; torch.optim.lr_scheduler.SequentialLR joins several"
            )

    @property
    def by_update(self) -> bool:
        return self.interval == "update"

    def lrs(self, lr: float, epoch: int, updates: Sequence[int]) -> list[float]:
        return [lr for lr, _ in self._part(lr, epoch, updates)]

    def momenta(self, lr: float, epoch: int, updates: Sequence[int]) -> list[float]:
        return [momentum for _, momentum in self._part(lr, epoch, updates) if momentum != NOT_SET]

    def _part(self, lr: float, epoch: int, updates: Sequence[int]) -> Sequence[tuple[float, float]]:
        if not self.by_update:
            return self._called(lr, self.epochs)[epoch : epoch + 1]
        done = sum(updates[:epoch])
        return self._called(lr, sum(updates))[done : done + updates[epoch]]

    def _called(self, lr: float, calls: int) -> tuple[tuple[float, float], ...]:
        return _called(json.dumps(self.node), lr, calls)


@lru_cache(maxsize=64)  # a study's runs share many of them
def _called(node: str, lr: float, calls: int) -> tuple[tuple[float, float], ...]:
    """Return lr and momentum before each of so many calls. Raises UserError."""
    described = json.loads(node)
    found, target = _simulated(described, lr, calls), described["_target_"]
    # torch's own are functions of the number of calls; another's is called again, since it may draw random numbers.
    if not target.startswith("torch.") and _simulated(described, lr, calls) != found:
        raise UserError(f"schedule: {target} gives other learning rates when it is called again; {ONLY}")
    return found


def _simulated(node: dict[str, Any], lr: float, calls: int) -> tuple[tuple[float, float], ...]:
    parameter = torch.zeros(1, device="meta")  # which has no values to be read
    parameter.grad = torch.zeros(1, device="meta")
    optimizer = SGD([parameter], lr=lr, momentum=NOT_SET)
    group, target, found = optimizer.param_groups[0], node["_target_"], []
    told = {"optimizer": optimizer, "max_lr": lr, "total_steps": calls}
    defaults = {"T_max": calls} | ({"total_iters": calls} if target.endswith(".PolynomialLR") else {})
    before = _others(group)
    scheduler = _built(node, optimizer, told, defaults)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimizer makes no step
            for _ in range(calls - 1):
                found.append((float(group["lr"]), float(group["momentum"])))
                scheduler.step()
    except Exception as error:  # the user's class may raise anything
        raise UserError(f"schedule: {target} fails when it is called: {one_line(error)}; {ONLY}") from error
    if changed := sorted(key for key, value in _others(group).items() if before.get(key) != value):
        raise UserError(f"schedule: {target} changes {', '.join(changed)} of the optimizer; {ONLY}")
    return (*found, (float(group["lr"]), float(group["momentum"])))


def _others(group: dict[str, Any]) -> dict[str, Any]:
    """Return what a scheduler must not change; schedulers note the initial lr and limits of the momentum there."""
    kept = ("params", "lr", "momentum", "initial_lr", "initial_momentum", "swa_lr")
    noted = ("min_", "max_", "base_")
    return {key: value for key, value in group.items() if key not in kept and not key.startswith(noted)}


def new_schedule(node: dict[str, Any], epochs: int) -> Schedule:
    """Return the schedule that a node describes: a `Schedule`, or a scheduler of torch's. Raises UserError."""
    cls = _scheduler(target := node.get("_target_"))
    if cls is None:
        return instantiate("schedule", node, Schedule, epochs=epochs)
    required = [each.name for each in list(signature(cls.step).parameters.values())[1:] if each.default is each.empty]
    if required or "lr_lambda" in signature(cls).parameters:
        wants = f"{required[0]} in every step" if required else "lr_lambda, a function"
        raise UserError(
            f"schedule: {target} wants {wants}, which a configuration cannot give; write a Schedule (docs/schedules.md)"
        )
    if ignored := {"epochs", "steps_per_epoch"} & node.keys() & signature(cls).parameters.keys():
        raise UserError(f"schedule.{min(ignored)}: total_steps is set by the run; leave it out")
    ours = {key: value for key, value in node.items() if key in ("warmup", "warmup_updates", "interval")}
    if "interval" not in ours and not cls.__module__.startswith("torch."):
        raise UserError(
            f"schedule.interval: is missing; say how often {target} is called: +schedule.interval=update, or epoch"
        )
    ours = {"interval": "update" if cls.__name__ in BY_UPDATE else "epoch"} | ours
    try:
        return TorchScheduler(epochs, node={key: node[key] for key in node if key not in ours}, **ours)
    except ValueError as error:
        raise UserError(f"schedule.{error}") from error


def _scheduler(target: Any) -> type[LRScheduler] | None:
    """Return the class if it is a scheduler for torch's optimizers."""
    with suppress(Exception, SystemExit):  # `instantiate` tells the error
        cls = pkgutil.resolve_name(target)
        return cls if issubclass(cls, LRScheduler) else None
    return None


def _built(
    node: dict[str, Any], optimizer: SGD, told: dict[str, Any], defaults: dict[str, Any] | None = None
) -> LRScheduler:
    """Return the scheduler; it gets `told`, and those `defaults` that the node lacks, if it has such arguments."""
    fields = dict(node)
    for key, value in node.items():
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            fields[key] = [_built(each, optimizer, {"optimizer": optimizer}) for each in value]  # of SequentialLR
    told = told | {key: value for key, value in (defaults or {}).items() if key not in node}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return instantiate("schedule", fields, LRScheduler, told=told)
