"""The schedule that others are made from. None has a state that a resumed run would have to restore."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


def check_whole(name: str, value: object, least: int) -> None:
    """Raise ValueError unless a value is a whole number, `least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value}: must be a whole number, {least} or more")


def check_number(name: str, value: object, least: float, most: float = math.inf) -> None:
    """Raise ValueError unless a value is a finite number from `least` to `most`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:  # type: ignore[arg-type, operator]
        allowed = f"from {least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
        raise ValueError(f"{name}={value}: must be a number, {allowed}")


def check_updates(name: str, value: object) -> None:
    """Raise ValueError unless a value is a whole number of updates, or a share of them below 1."""
    check_number(name, value, 0)
    if value > 1 and value != int(value):  # type: ignore[operator, call-overload]
        raise ValueError(f"{name}={value}: must be a whole number of updates, or a share of them below 1")


@dataclass(frozen=True)
class Schedule:
    """Constant lr and batch size, after a warm-up in which the lr rises linearly (Goyal et al. 2017).

    The warm-up takes `warmup` epochs, of which epoch e has (e + 1) / (warmup + 1) of the lr, or `warmup_updates`
    updates, likewise. Below 1, these are a share of the run's updates. A subclass defines `decay`, or `decay_by_update`
    if its lr changes within an epoch. Raises ValueError for invalid values.
    """

    epochs: int
    warmup: int = 0
    warmup_updates: float = 0

    def __post_init__(self) -> None:
        check_whole("warmup", self.warmup, 0)
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup={self.warmup}: must be fewer than epochs={self.epochs}")
        check_updates("warmup_updates", self.warmup_updates)
        if self.warmup and self.warmup_updates:
            raise ValueError(f"warmup={self.warmup} and warmup_updates={self.warmup_updates}: give only one of them")

    def lr_factor(self, epoch: int) -> float:
        """Return the factor of the lr in `epoch`, counted from 0."""
        return (epoch + 1) / (self.warmup + 1) if epoch < self.warmup else self.decay(epoch)

    def decay(self, epoch: int) -> float:
        """Return the factor of the lr after the warm-up."""
        return 1.0

    def decay_by_update(self, update: int, updates: int) -> float:
        """Return the factor of the lr in an update, counted from 0 after the warm-up, of so many after it."""
        raise NotImplementedError

    def batch_factor(self, epoch: int) -> int:
        """Return the factor of the batch size in `epoch`."""
        return 1

    @property
    def by_update(self) -> bool:
        """True if the lr changes within an epoch."""
        return bool(self.warmup_updates) or self._decays_by_update

    @property
    def _decays_by_update(self) -> bool:
        return type(self).decay_by_update is not Schedule.decay_by_update

    def lrs(self, lr: float, epoch: int, updates: Sequence[int]) -> list[float]:
        """Return the lr of each update of an epoch, or one lr for all of them.

        updates: the number of updates in each epoch of the run. Raises ValueError if the warm-up is longer.
        """
        if not self.by_update:
            return [lr * self.lr_factor(epoch)]
        done, total, warm = sum(updates[:epoch]), sum(updates), self._updates_of_warmup(updates)
        return [lr * self._factor(update, total, warm, epoch) for update in range(done, done + updates[epoch])]

    def _factor(self, update: int, updates: int, warm: int, epoch: int) -> float:
        rising = (update + 1) / (warm + 1)
        if not self._decays_by_update:
            return min(1.0, rising) * self.lr_factor(epoch)
        return rising if update < warm else self.decay_by_update(update - warm, updates - warm)

    def _updates_of_warmup(self, updates: Sequence[int]) -> int:
        if self.warmup:
            return sum(updates[: self.warmup])
        share = self.warmup_updates < 1
        warm = round(self.warmup_updates * sum(updates)) if share else int(self.warmup_updates)
        if warm >= sum(updates):
            raise ValueError(
                f"warmup_updates={self.warmup_updates}: must be fewer than the run's {sum(updates)} updates"
            )
        return warm

    def momenta(self, lr: float, epoch: int, updates: Sequence[int]) -> list[float]:
        """Return a momentum for each lr of `lrs`, or none if the momentum is not scheduled."""
        return []


def updates_of(schedule: Schedule, batch_size: int, images: int) -> list[int]:
    """Return the number of updates in each epoch, of minibatches of a training set of so many images."""
    sizes = (min(batch_size * schedule.batch_factor(epoch), images) for epoch in range(schedule.epochs))
    return [-(-images // size) for size in sizes]
