"""Schedulers of torch's, stepped as their documentation does."""

from typing import Any

import torch
from torch.optim import SGD


def stepped(scheduler: Any, calls: int, lr: float, **arguments: Any) -> list[tuple[float, float]]:
    """Return the lr and the momentum, 0.9 at first, before each of so many calls of a scheduler."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)
    built, found = scheduler(optimizer, **arguments), []
    for call in range(calls):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if call < calls - 1:
            built.step()
    return found
