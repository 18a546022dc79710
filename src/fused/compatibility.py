"""Reasons why a run cannot be trained in a group."""

import copy
import math
import random
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from src.data.images import Images
from src.errors import flat
from src.fused.stack import Stack
from src.training.trainer import Training

REFUSALS = {  # reasons, by a part of torch.func.vmap's error message
    "random operation": "the network draws random numbers, as dropout does",
    "data-dependent control flow": "the network's control flow depends on the values of a tensor",
}


def why_incompatible(training: Training) -> str:
    """Return the reason why a run cannot be trained in a group, or an empty string.

    A group evaluates each network once per update, handles no state except parameters and, on a GPU, computes nothing
    on the CPU.
    """
    if training.probe:
        return "probe measures one run at a time"
    if training.classifier.schedule.by_update:
        return "the schedule changes the lr in every update"
    optimizer = training.classifier.optimizer
    kind = type(optimizer)
    if not f"{kind.__module__}.".startswith("torch.optim."):
        return f"{kind.__qualname__} is not one of torch.optim's optimizers"
    if isinstance(optimizer, torch.optim.LBFGS):
        return "LBFGS evaluates the network more than once an update"
    if training.device == "cuda" and (reason := off_gpu_state(optimizer)):
        return reason
    if any(True for _ in training.model.buffers()):
        return "the network has buffers, such as batch statistics"
    return ""


def off_gpu_state(optimizer: Optimizer) -> str:
    """Return an error text if part of an optimizer's state is off the GPU, where a CUDA graph would not update it."""
    for state in optimizer.state.values():
        for key, value in state.items():
            if value is not None and not (isinstance(value, Tensor) and value.device.type == "cuda"):
                return f"{type(optimizer).__name__} does not keep its {key} on the GPU; fused=true may help"
    return ""


def why_not_vmappable(networks: Sequence[nn.Module], like: Images) -> str:
    """Return the reason why `torch.func.vmap` or a CUDA graph cannot replace the networks, or an empty string.

    They are tried on images of the shape of `like`.
    """
    twins = [copy.deepcopy(network) for network in networks]
    stack = Stack(twins)
    sizes = 4, *like.shape
    images = torch.linspace(-0.5, 0.5, math.prod(sizes), device=next(twins[0].parameters()).device).view(sizes)
    labels = torch.arange(4, device=images.device) % len(like.classes)
    try:
        for mode in (True, False):
            for twin in twins:
                twin.train(mode)
            before = _memory(twins[0])
            _, logits = stack.differentiate(images, labels)
            if _memory(twins[0]) != before:
                return "the network changes its state in a forward pass, which a CUDA graph would not repeat"
            alone = torch.stack([twin(images).detach() for twin in twins])
            torch.testing.assert_close(logits, alone, rtol=1e-3, atol=1e-4, equal_nan=True)
    except Exception as error:  # the user's network may raise anything
        if out_of_memory(error):
            raise
        text = flat(error)
        for words, reason in REFUSALS.items():
            if words in text:
                return reason
        return f"torch.func.vmap does not reproduce the network ({shorten(text, 120)})"
    return ""


def _memory(network: nn.Module) -> tuple[Any, ...]:
    """Return all state that a forward pass could change, except torch's generators."""
    return cloudpickle.dumps(network), random.getstate(), str(np.random.get_state())  # noqa: NPY002


def out_of_memory(error: Exception) -> bool:
    """Return True if the error means that the device is out of memory, whichever library raised it."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text
