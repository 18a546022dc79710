"""An optimizer made of several, each for its own parameters, as Muon is used: matrices by Muon, the rest by AdamW."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class Combined(Optimizer):
    """Steps of several optimizers, which have no parameter in common. Their groups are its groups."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        super().__init__([{"params": group["params"]} for each in optimizers for group in each.param_groups], {})
        self.optimizers = list(optimizers)
        self.param_groups = [group for each in optimizers for group in each.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the closure once, and take a step of each optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for each in self.optimizers:
            each.step()
        return loss
