"""What a training has come to: its final figures, whether it diverged, its logits on the test set."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from src.config.settings import Settings
from src.training.classifier import Classifier
from src.training.datamodule import DataModule, Split, minibatches
from src.training.instantiate import new_model
from src.training.metrics import EpochMetrics


def final_figures(classifier: Classifier, initial_loss: float) -> tuple[dict[str, Any], bool]:
    """The last epoch's figures, None where not finite, and whether the run diverged."""
    last = classifier.curve[-1]
    scores = {key: value for key, value in last.items() if key.endswith(("_loss", "_accuracy"))}
    scores["initial_loss"] = initial_loss
    diverged = not (classifier.finite and last["train_loss"] <= scores["initial_loss"])
    figures = {key: value if math.isfinite(value) else None for key, value in scores.items()}
    counts = {"epochs": int(last["epoch"]), "updates": int(last["updates"])}
    times = {
        "training_seconds": sum(row["seconds"] for row in classifier.curve),
        "evaluation_seconds": sum(row["evaluation_seconds"] for row in classifier.curve),
    }
    return figures | counts | times, diverged


@torch.no_grad()
def initial_loss(data: DataModule, settings: Settings) -> float:
    """The training loss of the first epoch, had there been no updates; to it the last epoch's is compared.

    Over the whole training set: at a tiny lr a run gains less in its length than one minibatch differs from the next.
    """
    train = data.splits["train"]
    device = train.images.device
    model, metrics = new_model(settings).to(device), EpochMetrics(device)
    for block in train.loader(minibatches(settings.seed, 0, data.batch_size_in(0), len(train))):
        for images, labels in block:
            logits = model(images)
            metrics.add(cross_entropy(logits, labels, reduction="none").double(), logits, labels)
    return metrics.figures("initial")[0]["initial_loss"]


@torch.no_grad()
def logits_of(model: nn.Module, split: Split) -> Tensor:
    """Logits (N, 10) for all images of a split, in their order, on the CPU."""
    model = model.to(split.images.device).eval()
    return torch.cat([model(images) for block in split.in_order() for images, _ in block]).cpu()
