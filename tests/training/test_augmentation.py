"""Flips and shifts of training images."""

import numpy as np
import pytest
import torch

from src.data.images import Images
from src.schedules import Schedule
from src.training.augmentation import FARTHEST, Augmentation
from src.training.datamodule import DataModule
from tests.helpers.images import bars

CPU = torch.device("cpu")
IMAGES = torch.randint(1, 256, (60, 3, 11, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drawn(kind: str, n: int, seed: int = 0) -> Augmentation:
    change = Augmentation(kind, n, CPU)
    change.draw(np.random.default_rng(seed))
    return change


def moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Move an image pixel by pixel."""
    to = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                to[:, y, x] = image[:, y - down, x - right]
    return to


@pytest.mark.parametrize("kind", ["flip", "shift", "flip_shift"])
def test_images_are_flipped_and_moved_as_drawn(kind: str) -> None:
    change, indices = drawn(kind, len(IMAGES)), torch.randperm(60)[:20]
    found = change(IMAGES[indices], indices)
    assert (change.flips is not None, change.shifts is not None) == ("flip" in kind, "shift" in kind)
    for image, index in zip(found, indices.tolist(), strict=True):
        expected = IMAGES[index]
        if change.flips is not None and change.flips[index]:
            expected = expected.flip(2)
        if change.shifts is not None:
            expected = moved(expected, *change.shifts[:, index].tolist())
        assert torch.equal(image, expected)


def test_all_shifts_and_both_flips_are_drawn() -> None:
    change = drawn("flip_shift", 5000)
    assert change.shifts is not None
    assert change.flips is not None
    for shifts in change.shifts:
        assert shifts.unique().tolist() == list(range(-FARTHEST, FARTHEST + 1))
    assert 0.45 < change.flips.double().mean() < 0.55


def test_only_training_images_are_changed_and_epoch_and_seed_alone_decide() -> None:
    def served(seed: int, epoch: int, order: torch.Tensor) -> torch.Tensor:
        data = DataModule(Images(*bars(300, 1), *bars(80, 2)), Schedule(4), 64, seed, 50, "half", "flip_shift").to(CPU)
        data.begin_epoch(epoch)
        assert data.splits["test"].augmentation is data.splits["validation"].augmentation is None
        whole = torch.empty(250, 1, 28, 28)
        for part in order.split(64):
            whole[part] = data.splits["train"].minibatch(part)[0]
        return whole

    once = served(0, 3, torch.arange(250))
    assert torch.equal(once, served(0, 3, torch.randperm(250)))
    assert not torch.equal(once, served(0, 2, torch.arange(250)))
    plain = DataModule(Images(*bars(300, 1), *bars(80, 2)), Schedule(4), 64, 0, 50).to(CPU).splits["train"]
    changed = (once != plain.minibatch(torch.arange(250))[0]).flatten(1).any(1)
    assert changed.double().mean() > 0.9
