"""The minibatches of a group, as indices: the images lie on the device."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from src.training.datamodule import EVAL_BATCH_SIZE, DataModule, in_blocks, minibatches
from src.training.lightning import LightningDataModule

EVAL_BATCH_SIZE_ON_GPU = 2000  # images scored at once, where each call costs as much as many images

Block = list[Tensor]  # minibatches of indices; those of one size in one tensor (K, ..., B)


class GroupData(LightningDataModule):
    """Serves the minibatches of all seeds of a group, whose data are `parts`: blocks as a run alone has them."""

    def __init__(self, parts: Sequence[DataModule]) -> None:
        super().__init__()
        self.parts = parts

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        for part in self.parts:
            part.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> DataLoader[Block]:
        """The current epoch's minibatches, each of the S seeds' in its own order: (K, S, B)."""
        assert self.trainer is not None
        epoch, n = self.trainer.current_epoch, len(self.parts[0].splits["train"])
        each = (minibatches(part.seed, epoch, part.batch_size_in(epoch), n) for part in self.parts)
        return _loader([torch.stack(of_all) for of_all in zip(*each, strict=True)])

    def val_dataloader(self) -> list[DataLoader[Block]]:
        """What is scored each epoch, the same images for all seeds: (K, B)."""
        assert self.trainer is not None
        at_once = EVAL_BATCH_SIZE if self.trainer.strategy.root_device.type == "cpu" else EVAL_BATCH_SIZE_ON_GPU
        sizes = [len(self.parts[0].splits[name]) for name in self.parts[0].eval_splits]
        return [_loader(torch.arange(size).split(at_once)) for size in sizes]


def _loader(order: Sequence[Tensor]) -> DataLoader[Block]:
    sizes = (groupby(block, key=lambda minibatch: minibatch.shape) for block in in_blocks(order))
    blocks = [[torch.stack(list(of_a_size)) for _, of_a_size in block] for block in sizes]
    return DataLoader(blocks, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]
