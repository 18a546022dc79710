"""The result of a row's range tests: losses, points and the interval of learning rates to try."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from src.range_test.points import Numbers, Points, points
from src.range_test.row import Row

NARROWEST = 3.0  # factor between the ends of an interval


@dataclass(frozen=True)
class Result:
    """The losses and points of a row, by seed, and the interval of learning rates to try.

    The interval goes from the lowest of all seeds' `valley` and `steepest` to half of the lowest `diverges`, or of the
    last lr tested if no seed diverges. If no seed's loss falls, it begins at the first lr tested. An interval narrower
    than a factor of 3 is widened to it about its middle, but not beyond the lowest `diverges` or the last lr tested.
    Both ends are rounded to two digits, as they are shown.
    """

    row: Row
    lrs: Numbers
    losses: Sequence[Numbers]
    data_sha256: str

    @cached_property
    def points(self) -> list[Points]:
        """The points of each seed."""
        return [points(self.lrs, losses) for losses in self.losses]

    @property
    def interval(self) -> tuple[float, float]:
        """The lowest and the highest lr to try."""
        each = self.points
        falls = [lr for seed in each for lr in (seed.valley, seed.steepest) if lr is not None]
        end = min((seed.diverges for seed in each if seed.diverges is not None), default=float(self.lrs[-1]))
        low, high = min(falls, default=float(self.lrs[0])), end / 2
        if high < NARROWEST * low:
            high = min(math.sqrt(low * high * NARROWEST), end)
            low = high / NARROWEST
        return float(f"{low:.2g}"), float(f"{high:.2g}")

    @property
    def seen(self) -> str:
        """What was seen instead of a fall or of divergence; by seed, if the seeds differ."""
        texts = [each.seen for each in self.points]
        if len(set(texts)) == 1:
            return texts[0]
        return "; ".join(f"seed {seed}: {text}" for seed, text in zip(self.row.seeds, texts, strict=True) if text)
