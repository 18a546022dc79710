"""The losses of a learning rate range test: one network trained while its lr grows from minibatch to minibatch."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from src.config.settings import Settings
from src.data.images import Images
from src.generators import seed_all
from src.training.datamodule import Block, epoch_seed
from src.training.denormals import flushed_denormals
from src.training.trainer import Training

FAR_ABOVE = 4.0  # times the first loss
IN_A_ROW = 3  # so many losses far above the first end the test; a single one may be a hard minibatch


def losses_of(settings: Settings, images: Images, lrs: NDArray[np.float64], device: str = "auto") -> list[float]:
    """Train by the settings with one lr of `lrs` per minibatch; return each minibatch's loss from before its update.

    Minibatches come in the order of a run of these settings, epoch after epoch. The test ends early at a loss that is
    not finite, which is the last one returned, or once `IN_A_ROW` losses in a row exceed `FAR_ABOVE` times the first.
    """
    training = Training(settings, images, device)
    training.classifier.set_mode(training=True)
    losses: list[float] = []
    with flushed_denormals():  # as in training
        for lr, minibatch in zip(lrs.tolist(), _minibatches(training), strict=False):
            training.classifier.rates.set(lr)
            (loss,), _ = training.classifier.train_on(minibatch)
            losses.append(loss.item())
            far = [each > FAR_ABOVE * losses[0] for each in losses[-IN_A_ROW:]]
            if not math.isfinite(losses[-1]) or (len(far) == IN_A_ROW and all(far)):
                break
    return losses


def _minibatches(training: Training) -> Iterator[Block]:
    """Yield a run's minibatches without end; draw each epoch's random numbers as a run does."""
    data = training.data.to(torch.device(training.device))
    train, seed = data.splits["train"], training.settings.seed
    training.model.train()
    for epoch in itertools.count():
        seed_all(epoch_seed(seed, epoch))
        for indices in data.begin_epoch(epoch):
            yield Block(train, [indices])
