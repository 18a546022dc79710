"""Networks as users write them, with state where `state_dict` does not look."""

import copy
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

PIXELS, HIDDEN, CLASSES = 784, 12, 10


class Plain(nn.Module):
    """Two linear layers; subclasses change what is between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def between(self, features: Tensor) -> Tensor:
        """Return features of the same shape (B, 12)."""
        return torch.relu(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.between(self.first(images.flatten(1))))


class Counting(Plain):
    """A counter, and a running mean in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.mean = 0, torch.zeros(HIDDEN)

    def between(self, features: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * features.detach().mean(0)
        return torch.relu(features - self.mean) * (1 + 0.001 * self.calls)


STEPS = [0]  # of all networks of a process


class Global(Plain):
    """A counter of the class, and a variable of the module."""

    calls = 0

    def between(self, features: Tensor) -> Tensor:
        if self.training:
            type(self).calls += 1
            STEPS[0] += 1
        return torch.relu(features) * (1 + 0.001 * self.calls + 0.002 * STEPS[0])


class Buffered(Plain):
    """A buffer that is not persistent."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(HIDDEN), persistent=False)

    def between(self, features: Tensor) -> Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(features.detach().mean(0), alpha=0.1)
        return torch.relu(features - self.mean)


class Random(Plain):
    """Random numbers from Python's and NumPy's global generators."""

    def between(self, features: Tensor) -> Tensor:
        noise = random.random() * np.random.random() if self.training else 0.25  # noqa: NPY002
        return torch.relu(features) * (0.5 + noise)


class Normalised(Plain):
    """Batch statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Dropout(0.3))

    def between(self, features: Tensor) -> Tensor:
        return self.inner(features)


class Lazy(nn.Sequential):
    """Layers that get their sizes from the first images."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.LazyLinear(HIDDEN), nn.ReLU(), nn.LazyLinear(CLASSES))


class Tied(Plain):
    """A weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.two.weight = self.one.weight

    def between(self, features: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(features)))


class Thawing(Plain):
    """A frozen layer that learns from the tenth minibatch on."""

    def __init__(self) -> None:
        super().__init__()
        self.first.requires_grad_(False)
        self.calls = 0

    def between(self, features: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.first.requires_grad_(self.calls >= 10)
        return torch.relu(features)


class Spectral(Plain):
    """Spectral normalisation, whose power iteration goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = spectral_norm(nn.Linear(HIDDEN, HIDDEN))

    def between(self, features: Tensor) -> Tensor:
        return torch.relu(self.inner(features))


class Recurrent(nn.Module):
    """An LSTM over the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.last = nn.LSTM(28, HIDDEN, batch_first=True), nn.Linear(HIDDEN, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.rows(images.squeeze(1))[0][:, -1])


class SelfTeaching(Plain):
    """A copy of itself, not a part of the network, that follows it slowly and changes its features."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = [copy.deepcopy(self.first)]

    def between(self, features: Tensor) -> Tensor:
        (teacher,) = self.teacher
        if self.training:
            with torch.no_grad():
                teacher.weight.lerp_(self.first.weight, 0.05)
        return torch.relu(features) + teacher.weight.norm()


class Growing(Plain):
    """A buffer that grows."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(0))

    def between(self, features: Tensor) -> Tensor:
        if self.training:
            self.seen = torch.cat([self.seen, features.detach().norm().view(1)])
        return torch.relu(features) / (1 + self.seen[-3:].sum() / 300)


class Remembering(Plain):
    """A hook with a memory, and a dictionary of what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {"norms": []}
        self.first.register_forward_hook(self.remember)

    def remember(self, layer: nn.Module, images: Any, features: Tensor) -> Tensor:
        """Scale the features by the mean norm so far."""
        if self.training:
            self.seen["norms"].append(float(features.detach().norm()))
        return features / (1 + sum(self.seen["norms"][-3:]) / 300)
