"""Schedules whose lr or batch size changes from epoch to epoch."""

import math
from dataclasses import dataclass

from src.schedules.schedule import Schedule, check_whole


@dataclass(frozen=True)
class _Milestones(Schedule):
    milestones: list[int] | tuple[int, ...] = ()
    factor: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("factor", self.factor, 2)
        if not isinstance(self.milestones, list | tuple):
            raise ValueError(f"milestones={self.milestones}: must be a list of epochs, such as [10,15]")
        for milestone in self.milestones:
            check_whole("milestones", milestone, self.warmup + 1)
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
