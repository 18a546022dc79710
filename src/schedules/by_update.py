"""Schedules whose lr changes from update to update, to `final` of the lr after the last one."""

import math
from dataclasses import dataclass

from src.schedules.schedule import Schedule, check_number, check_updates


@dataclass(frozen=True)
class _ToFinal(Schedule):
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("final", self.final, 0, 1)


@dataclass(frozen=True)
class Polynomial(_ToFinal):
    """The lr falls as (1 - t) ^ `power`, where t is the share of the updates; linearly with a power of 1."""

    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("power", self.power, 0)

    def decay_by_update(self, update: int, updates: int) -> float:
        return self.final + (1 - self.final) * float(1 - update / updates) ** self.power


@dataclass(frozen=True)
class CosineByUpdate(_ToFinal):
    """The lr falls along half a cosine (Loshchilov & Hutter 2017)."""

    def decay_by_update(self, update: int, updates: int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * update / updates)) / 2


@dataclass(frozen=True)
class Trapezoid(_ToFinal):
    """The lr is constant, then falls linearly in the last `cooldown` updates, or this share of them if it is below 1.

    Hägele et al. 2024, arXiv 2405.18392.
    """

    cooldown: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_updates("cooldown", self.cooldown)

    def decay_by_update(self, update: int, updates: int) -> float:
        falling = self.cooldown * updates if self.cooldown < 1 else self.cooldown
        if falling > updates:
            raise ValueError(f"cooldown={self.cooldown}: must be at most the {updates} updates after the warm-up")
        left = updates - update
        return 1.0 if left >= falling else self.final + (1 - self.final) * left / falling
