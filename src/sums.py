"""Loss and correct answers, summed over images on the device."""

import torch
from torch import Tensor

from src.runs.run import Row


class Sums:
    """What is asked of the device only when an epoch ends."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add losses, of any shape, whose sum is over the images of logits (B, 10) and labels (B,)."""
        self.loss += losses.sum()
        self.correct += (logits.argmax(1) == labels).sum()
        self.images += len(labels)

    def figures(self, name: str) -> Row:
        """Mean loss (nats) and accuracy (0 to 1) an image."""
        return {
            f"{name}_loss": self.loss.item() / self.images,
            f"{name}_accuracy": self.correct.item() / self.images,
        }
