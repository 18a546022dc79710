"""Loss and correct answers, summed over images on the device."""

import torch
from torch import Tensor

from src.runs.record import Row


class EpochMetrics:
    """What is asked of the device only when an epoch ends; for each of `runs`, all on the same images."""

    def __init__(self, device: torch.device, runs: int = 1) -> None:
        self.loss = torch.zeros(runs, dtype=torch.float64, device=device)
        self.correct = torch.zeros(runs, dtype=torch.int64, device=device)
        self.images = torch.zeros((), dtype=torch.int64, device=device)  # there too, so that a CUDA graph counts

    def reset(self) -> None:
        """Forget all, in place."""
        for tensor in (self.loss, self.correct, self.images):
            tensor.zero_()

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add losses ([runs,] any), whose sum is over the images of logits ([runs,] B, 10) and labels (B,)."""
        self.loss += losses.reshape(len(self.loss), -1).sum(1)
        self.correct += (logits.argmax(-1) == labels).reshape(len(self.loss), -1).sum(1)
        self.images += len(labels)

    def figures(self, name: str) -> list[Row]:
        """Mean loss (nats) and accuracy (0 to 1) an image, of each run."""
        images = self.images.item()
        return [
            {f"{name}_loss": loss / images, f"{name}_accuracy": correct / images}
            for loss, correct in zip(self.loss.tolist(), self.correct.tolist(), strict=True)
        ]
