"""The minibatches of a group, as indices of images that are on the device."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from src.training.datamodule import EVAL_BATCH_SIZE, DataModule, in_blocks, minibatches
from src.training.lightning import LightningDataModule

EVAL_BATCH_SIZE_ON_GPU = 2000  # larger than on a CPU, since launches dominate

Block = list[Tensor]  # minibatches of indices; consecutive ones of one size form a tensor (K, ..., B)


class GroupData(LightningDataModule):
    """Loads the minibatches of a group from `parts`, the data of each seed; the blocks are those of a run alone."""

    def __init__(self, parts: Sequence[DataModule]) -> None:
        super().__init__()
        self.parts = parts

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        for part in self.parts:
            part.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> DataLoader[Block]:
        """Return the current epoch's minibatches (K, S, B), each of S seeds in its own order."""
        assert self.trainer is not None
        epoch, n = self.trainer.current_epoch, len(self.parts[0].splits["train"])
        for part in self.parts:
            part.begin_epoch(epoch)
        each = (minibatches(part.seed, epoch, part.batch_size_in(epoch), n) for part in self.parts)
        return _loader([torch.stack(of_all) for of_all in zip(*each, strict=True)])

    def val_dataloader(self) -> list[DataLoader[Block]]:
        """Return the minibatches (K, B) of the splits evaluated each epoch, the same for all seeds."""
        assert self.trainer is not None
        at_once = EVAL_BATCH_SIZE if self.trainer.strategy.root_device.type == "cpu" else EVAL_BATCH_SIZE_ON_GPU
        sizes = [len(self.parts[0].splits[name]) for name in self.parts[0].eval_splits]
        return [_loader(torch.arange(size).split(at_once)) for size in sizes]


def _loader(order: Sequence[Tensor]) -> DataLoader[Block]:
    sizes = (groupby(block, key=lambda minibatch: minibatch.shape) for block in in_blocks(order))
    blocks = [[torch.stack(list(of_a_size)) for _, of_a_size in block] for block in sizes]
    return DataLoader(blocks, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]
