"""The runs of a group that share their minibatches, since their seed is the same."""

from collections.abc import Sequence

from torch import Tensor

from src.fused.stack import Stack
from src.runs.record import Row
from src.training.classifier import Classifier
from src.training.datamodule import DataModule
from src.training.metrics import EpochMetrics


class SeedGroup:
    """Runs of one seed: ordinary classifiers with their optimizers, and one stack that computes their gradients.

    A run that is over stays in the stack, so that its neighbours' bits do not depend on it, but is not updated.
    """

    def __init__(self, members: Sequence[Classifier], data: DataModule) -> None:
        self.members, self.data = members, data
        self.stack = Stack([member.model for member in members])
        self.training: list[Classifier] = []
        device = next(iter(self.stack.parameters.values())).device
        self.metrics = {name: EpochMetrics(device, len(members)) for name in ("train", *data.eval_splits)}

    def begin_epoch(self, epoch: int) -> None:
        """Set each lr; count from zero."""
        self.training = [member for member in self.members if member.finite]
        for member in self.training:
            member.set_lr(epoch)
        for metrics in self.metrics.values():
            metrics.reset()

    def update(self, indices: Tensor) -> None:
        """One update of each run, by the minibatch of these indices (B,)."""
        images, labels = self.data.splits["train"].minibatch(indices)
        losses, logits = self.stack.differentiate(images, labels)
        for member in self.training:
            member.optimizer.step()
        self.metrics["train"].add(losses.double() * len(labels), logits, labels)

    def score(self, split: str, indices: Tensor) -> None:
        """Add the losses and right answers on some images of a split."""
        images, labels = self.data.splits[split].minibatch(indices)
        losses, logits = self.stack.losses(images, labels)
        self.metrics[split].add(losses.double(), logits, labels)

    def end_epoch(self, epoch: int, updates: int, seconds: float, evaluation_seconds: float) -> None:
        """Add a row to each curve; the seconds are a run's share of the group's."""
        figures: list[Row] = [{} for _ in self.members]
        for name, metrics in self.metrics.items():
            figures = [row | more for row, more in zip(figures, metrics.figures(name), strict=True)]
        for member, row in zip(self.members, figures, strict=True):
            if member in self.training:
                member.add_row(epoch, row, updates, self.data, seconds, evaluation_seconds)
