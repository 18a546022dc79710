"""The tests that a command runs: one for each row and seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.data.images import Images
from src.range_test.points import Numbers
from src.range_test.row import Row

LEAST_STEPS, MOST_STEPS = 100, 1000


@dataclass(frozen=True)
class Lrs:
    """Learning rates that grow exponentially; by default one per minibatch of an epoch, but 100 to 1000."""

    low: float = 1e-7
    high: float = 10.0
    steps: int | None = None

    def of(self, images: int, batch_size: int) -> Numbers:
        """Return the lr of each step of a test on so many training images."""
        steps = self.steps or min(max(-(-images // batch_size), LEAST_STEPS), MOST_STEPS)
        return np.geomspace(self.low, self.high, steps)


@dataclass(frozen=True, eq=False)
class Test:
    """One seed of a row."""

    row: Row
    seed: int
    lrs: Numbers
    images: Images

    @property
    def name(self) -> str:
        """Its name for display."""
        return f"{self.row.name} seed {self.seed}"


def plan(rows: Sequence[Row], lrs: Lrs) -> list[Test]:
    """Load each data set once; return all tests, those on the same images one after the other. Raises UserError."""
    loaded: dict[str, Images] = {}
    tests: dict[str, list[Test]] = {}
    for row in rows:
        source, settings = row.source, row.settings
        key = repr((settings.data, settings.test_share, source.source, source.data_root, source.classes))
        if key not in loaded:
            loaded[key] = source.load()
        images = loaded[key]
        images.check_sizes(settings.validation, settings.batch_size)
        of_row = lrs.of(len(images.train_labels) - settings.validation, settings.batch_size)
        tests.setdefault(key, []).extend(Test(row, seed, of_row, images) for seed in row.seeds)
    return [test for of_data in tests.values() for test in of_data]
