"""Loss and accuracy, accumulated over images on the device."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from src.native.chain import chain_of
from src.runs.record import Row
from src.training.datamodule import Block


def outputs(model: nn.Module, block: Block) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the logits (B, K) and the labels (B,) of parts of a block, by the native code if it can."""
    if chain := chain_of(model, block.split.pixels):
        pixels, order = block.split.augmented(block.order)
        yield chain.logits(pixels, order), pixels.labels[torch.cat(list(order))]
    else:
        yield from ((model(images), labels) for images, labels in block)


class EpochMetrics:
    """Sums of loss and correct predictions, for `runs` runs on the same images; read when an epoch ends."""

    def __init__(self, device: torch.device, runs: int = 1) -> None:
        self.loss = torch.zeros(runs, dtype=torch.float64, device=device)
        self.correct = torch.zeros(runs, dtype=torch.int64, device=device)
        self.images = torch.zeros((), dtype=torch.int64, device=device)  # a tensor, so that CUDA graphs count it too

    def reset(self) -> None:
        """Set all sums to zero, in place."""
        for tensor in (self.loss, self.correct, self.images):
            tensor.zero_()

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add losses ([runs,] any shape), summed over images, and the correct predictions of logits ([runs,] B, K)."""
        self.add_counted(losses, (logits.argmax(-1) == labels).reshape(len(self.loss), -1).sum(1), len(labels))

    def add_counted(self, losses: Tensor, correct: Tensor, images: int) -> None:
        """Add losses ([runs,] any shape), summed over images, and numbers of correct predictions and of images."""
        self.loss += losses.reshape(len(self.loss), -1).sum(1)
        self.correct += correct
        self.images += images

    def evaluate(self, model: nn.Module, block: Block) -> None:
        """Add the losses and correct predictions of a network on a block of minibatches."""
        for logits, labels in outputs(model, block):
            self.add(cross_entropy(logits, labels, reduction="none").double(), logits, labels)

    def figures(self, name: str) -> list[Row]:
        """Return each run's mean loss per image (nats) and accuracy (0 to 1), with keys that start with `name`."""
        images = self.images.item()
        return [
            {f"{name}_loss": loss / images, f"{name}_accuracy": correct / images}
            for loss, correct in zip(self.loss.tolist(), self.correct.tolist(), strict=True)
        ]
