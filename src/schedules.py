"""Learning rate and batch size as functions of the epoch, with no state that a resumed run would have to restore."""

import math
from dataclasses import dataclass


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value}: must be a whole number, {least} or more")


@dataclass(frozen=True)
class Schedule:
    """Constant lr and batch size, after `warmup` epochs in which the lr rises linearly (Goyal et al. 2017).

    Epoch e of the warm-up has (e + 1) / (warmup + 1) of the lr. Raises ValueError for invalid values.
    """

    epochs: int
    warmup: int = 0

    def __post_init__(self) -> None:
        _whole("warmup", self.warmup, 0)
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup={self.warmup}: must be fewer than epochs={self.epochs}")

    def lr_factor(self, epoch: int) -> float:
        """Return the factor of the lr in `epoch`, counted from 0."""
        return (epoch + 1) / (self.warmup + 1) if epoch < self.warmup else self.decay(epoch)

    def decay(self, epoch: int) -> float:
        """Return the factor of the lr after the warm-up."""
        return 1.0

    def batch_factor(self, epoch: int) -> int:
        """Return the factor of the batch size in `epoch`."""
        return 1


@dataclass(frozen=True)
class _Milestones(Schedule):
    milestones: list[int] | tuple[int, ...] = ()
    factor: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _whole("factor", self.factor, 2)
        if not isinstance(self.milestones, list | tuple):
            raise ValueError(f"milestones={self.milestones}: must be a list of epochs, such as [10,15]")
        for milestone in self.milestones:
            _whole("milestones", milestone, self.warmup + 1)
        if self.milestones and (last := max(self.milestones)) >= self.epochs:
            fitting = max(self.epochs // 2, self.warmup + 1)
            way = f"schedule.milestones=[{fitting}]" if fitting < self.epochs else f"epochs={last + 1}"
            raise ValueError(
                f"milestones={list(self.milestones)}: epoch {last} is never reached with epochs={self.epochs}; "
                f"try {way}"
            )

    def passed(self, epoch: int) -> int:
        """Return the number of milestones at or before `epoch`."""
        return sum(milestone <= epoch for milestone in self.milestones)


@dataclass(frozen=True)
class Step(_Milestones):
    """The lr is divided by `factor` at each of the `milestones`."""

    def decay(self, epoch: int) -> float:
        return float(self.factor) ** -self.passed(epoch)


@dataclass(frozen=True)
class GrowBatch(_Milestones):
    """The batch size is multiplied by `factor` at each of the `milestones` (Smith, Kindermans, Ying & Le 2018)."""

    def batch_factor(self, epoch: int) -> int:
        return int(self.factor ** self.passed(epoch))


@dataclass(frozen=True)
class Exponential(Schedule):
    """The lr is multiplied by `gamma` after each epoch that follows the warm-up."""

    gamma: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.gamma, int | float) or isinstance(self.gamma, bool) or not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}: must be above 0 and at most 1")

    def decay(self, epoch: int) -> float:
        return self.gamma ** (epoch - self.warmup)


@dataclass(frozen=True)
class Cosine(Schedule):
    """The lr falls along half a cosine, which would reach 0 after the last epoch (Loshchilov & Hutter 2017)."""

    def decay(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * (epoch - self.warmup) / (self.epochs - self.warmup))) / 2
