"""The runs of a group that have the same seed and so share their minibatches."""

import copy
from collections.abc import Sequence

from torch import Tensor

from src.fused.stack import Stack
from src.runs.record import Row
from src.training.classifier import Classifier
from src.training.datamodule import DataModule
from src.training.evaluation import split_figures
from src.training.metrics import EpochMetrics


class SeedGroup:
    """Runs of one seed: classifiers with their own optimizers, and one stack that computes all gradients.

    A diverged run stays in the stack but is not updated, so that the other runs' bits do not depend on it.
    """

    def __init__(self, members: Sequence[Classifier], data: DataModule) -> None:
        self.members, self.data = members, data
        self.stack = Stack([member.model for member in members])
        self.training: list[Classifier] = []
        device = next(iter(self.stack.parameters.values())).device
        self.metrics = {name: EpochMetrics(device, len(members)) for name in ("train", *data.eval_splits)}

    def begin_epoch(self, epoch: int) -> None:
        """Set each lr and reset the metrics."""
        self.training = [member for member in self.members if member.finite]
        for member in self.training:
            member.set_rates(epoch, self.data.updates)
        for metrics in self.metrics.values():
            metrics.reset()

    def update(self, indices: Tensor) -> None:
        """Update each run on the minibatch at indices (B,)."""
        images, labels = self.data.splits["train"].minibatch(indices)
        losses, logits = self.stack.differentiate(images, labels)
        for member in self.training:
            member.optimizer.step()
        self.metrics["train"].add(losses.double() * len(labels), logits, labels)

    def score(self, split: str, indices: Tensor) -> None:
        """Add the losses and correct predictions on the images of a split at indices (B,)."""
        images, labels = self.data.splits[split].minibatch(indices)
        losses, logits = self.stack.losses(images, labels)
        self.metrics[split].add(losses.double(), logits, labels)

    def end_epoch(self, epoch: int, updates: int, seconds: float, evaluation_seconds: float) -> None:
        """Add a row to each curve; the seconds are one run's share of the group's time."""
        figures: list[Row] = [{} for _ in self.members]
        for name, metrics in self.metrics.items():
            figures = [row | more for row, more in zip(figures, metrics.figures(name), strict=True)]
        for member, row in zip(self.members, figures, strict=True):
            if member in self.training:
                member.add_row(epoch, row, updates, self.data, seconds, evaluation_seconds)

    def evaluate_ended(self, all_have: bool) -> None:
        """Evaluate each run that has ended by itself, so that `src.evaluate` repeats its final figures bit for bit."""
        for member in self.training:
            if all_have or not member.finite:
                model = copy.deepcopy(member.model)  # its parameters are views, on which kernels may round otherwise
                for name in self.data.eval_splits:
                    member.curve[-1] |= split_figures(model, self.data.splits[name], name)
