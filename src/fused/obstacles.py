"""Why a run cannot be trained in a group."""

import copy
from collections.abc import Sequence
from textwrap import shorten

import torch
from torch import nn

from src.errors import flat
from src.fused.stack import Stack
from src.training import Training


def obstacle(training: Training) -> str:
    """What keeps a run from being trained in a group; nothing, where nothing does.

    A group evaluates each network once an update, and knows no state beside parameters.
    """
    optimizer = type(training.classifier.optimizer)
    if not optimizer.__module__.startswith("torch.optim.") or issubclass(optimizer, torch.optim.LBFGS):
        return f"{optimizer.__qualname__} is not one of torch.optim's that evaluate the network once an update"
    if any(True for _ in training.model.buffers()):
        return "the network keeps buffers, such as batch statistics"
    return ""


def refusal(networks: Sequence[nn.Module]) -> str:
    """Why `torch.func.vmap` cannot compute networks: because it says so, or because it does not compute the same."""
    twins = [copy.deepcopy(network) for network in networks]
    stack = Stack(twins)
    images = torch.linspace(-0.5, 0.5, 4 * 28 * 28, device=next(twins[0].parameters()).device).view(4, 1, 28, 28)
    labels = torch.arange(4, device=images.device)
    try:
        for mode in (True, False):
            for twin in twins:
                twin.train(mode)
            _, logits = stack.differentiate(images, labels)
            alone = torch.stack([twin(images).detach() for twin in twins])
            torch.testing.assert_close(logits, alone, rtol=1e-3, atol=1e-4, equal_nan=True)
    except Exception as error:  # whatever a person's network raises
        return f"vmap does not compute the network ({shorten(flat(error), 120)})"
    return ""
