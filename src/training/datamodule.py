"""Images as tensors, blocks of minibatches, and the LightningDataModule."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.data.images import Images
from src.native.gather import Pixels
from src.schedules.schedule import Schedule, updates_of
from src.training.augmentation import Augmentation
from src.training.lightning import LightningDataModule

BLOCK = 6000  # images per training_step: enough to amortize Lightning's overhead, few enough to show progress
EVAL_BATCH_SIZE = 256  # larger batches are slower, since their feature maps do not fit into the cache
ORDER, HOLD_OUT, DROPOUT, AUGMENT, PROBE = range(5)  # independent random streams of one seed


def minibatches(seed: int, epoch: int, batch_size: int, n: int) -> tuple[Tensor, ...]:
    """Return the indices of each minibatch of an epoch: a permutation of `n` images, split; the last may be smaller."""
    order = np.random.default_rng((seed, epoch, ORDER)).permutation(n)
    return torch.from_numpy(order).split(batch_size)


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of torch's generators for an epoch, so that dropout does not depend on resuming."""
    return int(np.random.SeedSequence((seed, epoch, DROPOUT)).generate_state(1)[0])


def held_out(seed: int, n: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the indices to train on and to validate on; the latter are the last `size` of a seeded permutation."""
    order = torch.from_numpy(np.random.default_rng((seed, 0, HOLD_OUT)).permutation(n))
    return order[: n - size].sort().values, order[n - size :].sort().values


def mean_and_std(normalize: str, images: Tensor) -> tuple[list[float], list[float]]:
    """Return each channel's mean and standard deviation that normalise pixels of 0 to 1; `images` are those trained on.

    images: bytes (N, C, H, W).
    """
    each = [_of_channel(normalize, images[:, channel]) for channel in range(images.shape[1])]
    return [mean for mean, _ in each], [std for _, std in each]


def _of_channel(normalize: str, pixels: Tensor) -> tuple[float, float]:
    if normalize == "none":
        return 0.0, 1.0
    if normalize == "half":
        return 0.5, 0.5
    counts = torch.bincount(pixels.flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = float((counts * values).sum() / counts.sum())
    if normalize == "center" or counts.count_nonzero() == 1:  # constant images have no standard deviation to divide by
        return mean, 1.0
    return mean, math.sqrt(float((counts * (values - mean) ** 2).sum() / counts.sum()))


def in_blocks(order: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """Group minibatches (..., B) into blocks of about `BLOCK` images."""
    a_block = max(1, BLOCK // order[0].shape[-1])
    return [order[start : start + a_block] for start in range(0, len(order), a_block)]


class Block:
    """Several minibatches of a split, given by their indices (B,).

    An iteration gathers each minibatch's images (B, C, H, W) and labels (B,) when it gets there.
    """

    def __init__(self, split: "Split", order: Sequence[Tensor]) -> None:
        self.split, self.order = split, [indices.to(split.images.device) for indices in order]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, part: slice) -> "Block":
        return Block(self.split, self.order[part])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self.split.minibatch, self.order)

    @property
    def sizes(self) -> list[int]:
        """Number of images of each minibatch."""
        return [len(indices) for indices in self.order]


class Split(Dataset[Block]):
    """Images (N, C, H, W) and labels (N,) on one device; an item is a block of minibatches.

    Pixels x of 0 to 1 become (x - mean) / std of their channel, as with torchvision's `ToTensor` and `Normalize`.
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
        self.images, self.labels = images.contiguous(), labels
        self.mean, self.std = (
            torch.tensor(each, dtype=torch.get_default_dtype(), device=images.device).view(-1, 1, 1)
            for each in (mean, std)
        )
        self.augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, order: Sequence[Tensor]) -> Block:
        return Block(self, order)

    @property
    def pixels(self) -> Pixels:
        """All images, not augmented."""
        return Pixels(self.images, self.labels, self.mean, self.std)

    def augmented(self, order: Sequence[Tensor]) -> tuple[Pixels, Sequence[Tensor]]:
        """Return images to gather from, and where among them those of each minibatch of indices are.

        Without augmentation, these are all images, and the indices themselves.
        """
        if self.augmentation is None:
            return self.pixels, order
        chosen = torch.cat(list(order))
        where = torch.arange(len(chosen), device=chosen.device).split([len(indices) for indices in order])
        images = self.augmentation(self.images[chosen], chosen).contiguous()
        return Pixels(images, self.labels[chosen], self.mean, self.std), where

    def minibatch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised images (B, C, H, W) and labels (B,) at indices (B,)."""
        pixels, (where,) = self.augmented([indices])
        return pixels.minibatch(where)

    def loader(self, order: tuple[Tensor, ...]) -> DataLoader[Block]:
        """Return a loader of these minibatches of indices, in blocks."""
        # Without its own generator, each iterator would draw from torch's global one, which dropout uses.
        return DataLoader(self, batch_size=None, sampler=in_blocks(order), generator=torch.Generator())

    def in_order(self) -> DataLoader[Block]:
        """Return a loader of every image once, in stored order."""
        return self.loader(torch.arange(len(self)).split(EVAL_BATCH_SIZE))


class DataModule(LightningDataModule):
    """A data set in memory on the training device; batches are slices of it. Raises UserError for impossible sizes."""

    def __init__(
        self,
        images: Images,
        schedule: Schedule,
        batch_size: int,
        seed: int,
        validation: int = 0,
        normalize: str = "half",
        augment: str = "none",
    ) -> None:
        super().__init__()
        images.check_sizes(validation, batch_size)
        self.schedule, self.batch_size, self.seed, self.augment = schedule, batch_size, seed, augment
        self.images, self.validation, self.normalize = images, validation, normalize

    @cached_property
    def arrays(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The images and labels of each split. They are made when they are needed, which `dry_run` does not."""
        images, validation = self.images, self.validation
        train = torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels)
        found = {"test": (torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels))}
        if validation:
            trained_on, validated_on = held_out(self.seed, len(train[1]), validation)
            found["validation"] = train[0][validated_on], train[1][validated_on]
            train = train[0][trained_on], train[1][trained_on]
        return found | {"train": train}

    @cached_property
    def _mean_and_std(self) -> tuple[list[float], list[float]]:
        return mean_and_std(self.normalize, self.arrays["train"][0])

    @property
    def mean(self) -> list[float]:
        """Each channel's mean that pixels of 0 to 1 are normalised with."""
        return self._mean_and_std[0]

    @property
    def std(self) -> list[float]:
        """Each channel's standard deviation, likewise."""
        return self._mean_and_std[1]

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        self.to(self.trainer.strategy.root_device)

    def to(self, device: torch.device) -> "DataModule":
        """Move the data to a device."""
        self.splits = {
            name: Split(images.to(device), labels.to(device, torch.long), self.mean, self.std)
            for name, (images, labels) in self.arrays.items()
        }
        return self

    def begin_epoch(self, epoch: int) -> tuple[Tensor, ...]:
        """Draw the epoch's augmentation; return the indices of its minibatches."""
        train = self.splits["train"]
        if self.augment != "none":
            train.augmentation = train.augmentation or Augmentation(self.augment, len(train), train.images.device)
            train.augmentation.draw(np.random.default_rng((self.seed, epoch, AUGMENT)))
        return self.minibatches_of(epoch)

    def minibatches_of(self, epoch: int) -> tuple[Tensor, ...]:
        """Return the indices of an epoch's minibatches."""
        return minibatches(self.seed, epoch, self.batch_size_in(epoch), len(self.splits["train"]))

    def train_dataloader(self) -> DataLoader[Block]:
        """Return the current epoch's minibatches; the Trainer calls this every epoch."""
        assert self.trainer is not None
        return self.splits["train"].loader(self.begin_epoch(self.trainer.current_epoch))

    def val_dataloader(self) -> list[DataLoader[Block]]:
        """Return the splits evaluated each epoch: the test set, and the validation set if there is one."""
        return [self.splits[name].in_order() for name in self.eval_splits]

    @property
    def eval_splits(self) -> list[str]:
        """Names of the splits in `val_dataloader`, in its order."""
        return [name for name in self.arrays if name != "train"]

    def batch_size_in(self, epoch: int) -> int:
        """Return the batch size of an epoch, at most the size of the training set."""
        return min(self.batch_size * self.schedule.batch_factor(epoch), self.trained_on)

    @property
    def trained_on(self) -> int:
        """The number of training images."""
        return len(self.images.train_labels) - self.validation

    @cached_property
    def updates(self) -> list[int]:
        """The number of updates in each epoch."""
        return updates_of(self.schedule, self.batch_size, self.trained_on)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # it lies there
