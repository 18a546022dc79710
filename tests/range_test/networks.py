"""Networks that do what no network should."""

import os
import signal
from typing import Any

import torch
from torch import Tensor, nn


class Unlearnable(nn.Module):
    """Its logits do not depend on its parameter. It is built like an MLP."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        return 0 * self.unused + torch.zeros(len(images), 10)


class NeverFinite(Unlearnable):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float("nan")


class Killed(Unlearnable):
    """Ends its process, as the system does when memory runs out."""

    def forward(self, images: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)
