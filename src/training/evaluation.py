"""The final evaluation of a run: its figures, the test for divergence, its logits on a split."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from src.config.settings import Settings
from src.data.images import Images
from src.network import new_model
from src.runs.record import Row
from src.training.classifier import Classifier
from src.training.datamodule import DataModule, Split
from src.training.denormals import flushed_denormals
from src.training.metrics import EpochMetrics, outputs

COUNTS = {"epochs": "epoch", "updates": "updates", "gradients": "gradients"}


def final_figures(classifier: Classifier, initial_loss: float, final_loss: float) -> tuple[dict[str, Any], bool]:
    """Return the last epoch's figures, with None for non-finite ones, and whether the run diverged.

    It diverged if a loss is not finite, or if the trained network's loss on the training set is above the untrained
    one's. The running mean of the last epoch would not do: of a few minibatches, the first may outweigh the rest.
    """
    last = classifier.curve[-1]
    scores = {key: value for key, value in last.items() if key.endswith(("_loss", "_accuracy"))}
    scores |= {"initial_loss": initial_loss, "final_loss": final_loss}
    diverged = not (classifier.finite and final_loss <= initial_loss)
    figures = {key: value if math.isfinite(value) else None for key, value in scores.items()}
    counts = {key: int(last[name]) for key, name in COUNTS.items() if name in last}
    times = {
        "training_seconds": sum(row["seconds"] for row in classifier.curve),
        "evaluation_seconds": sum(row["evaluation_seconds"] for row in classifier.curve),
    }
    return figures | counts | times, diverged


@torch.no_grad()
def initial_loss(data: DataModule, settings: Settings, images: Images) -> float:
    """Return the untrained network's training loss."""
    model = new_model(settings, images.shape, len(images.classes))
    return _training_loss(model.to(data.splits["train"].images.device), data)


@torch.no_grad()
def final_loss(model: nn.Module, data: DataModule) -> float:
    """Return the trained network's training loss, on the images of `initial_loss`."""
    return _training_loss(model.to(data.splits["train"].images.device).eval(), data)


def _training_loss(model: nn.Module, data: DataModule) -> float:
    """Return the loss over the whole training set: at a tiny lr, a run improves it by less than minibatches differ."""
    train = data.splits["train"]
    metrics = EpochMetrics(train.images.device)
    # Begun anew, else the loss would depend on the last epoch's augmentation.
    for block in train.loader(data.begin_epoch(0)):
        metrics.evaluate(model, block)
    return metrics.figures("train")[0]["train_loss"]


@torch.no_grad()
def figures_on_test(model: nn.Module, images: Images, normalisation: dict[str, Any]) -> tuple[float, float]:
    """Return loss (nats) and accuracy (0 to 1) on the test set, computed as after an epoch of training.

    `normalisation` holds `mean` and `std` of each channel.
    """
    torch.set_num_threads(1)  # more threads may change the last bits
    arrays = torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels).long()
    split = Split(*arrays, normalisation["mean"], normalisation["std"])
    with flushed_denormals():
        figures = split_figures(model, split, "test")
    return figures["test_loss"], figures["test_accuracy"]


@torch.no_grad()
def split_figures(model: nn.Module, split: Split, name: str) -> Row:
    """Return the network's `<name>_loss` and `<name>_accuracy` on a split, computed as after an epoch of training."""
    metrics = EpochMetrics(split.images.device)
    model.eval()
    for block in split.in_order():
        metrics.evaluate(model, block)
    return metrics.figures(name)[0]


@torch.no_grad()
def logits_of(model: nn.Module, split: Split) -> Tensor:
    """Return the logits (N, K) of all images of a split, in stored order, on the CPU."""
    model = model.to(split.images.device).eval()
    return torch.cat([logits for block in split.in_order() for logits, _ in outputs(model, block)]).cpu()
