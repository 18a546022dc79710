"""Networks: plain modules from images (B, C, H, W) to logits (B, K).

They get `image_shape` (C, H, W) and `classes`, the number K, from the data.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from src.native.convolution import conv_pool_relu

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
POOLINGS: dict[str, Callable[[Tensor, int], Tensor]] = {"max": max_pool2d, "average": avg_pool2d}
INITS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "torch": None,
    "kaiming_normal": nn.init.kaiming_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
}


def _check(key: str, value: Any, allowed: Sequence[Any]) -> None:
    if not any(value == each and type(value) is type(each) for each in allowed):
        raise ValueError(f"{key}={value}: must be one of: {', '.join(map(str, allowed))}")


def initialize(model: nn.Module, init: str) -> None:
    """Initialize the weights by `kaiming_normal` (He et al. 2015) or `xavier_uniform` (Glorot & Bengio 2010).

    Biases become 0. `torch` keeps the default of torch's layers, uniform within 1 / sqrt(inputs). Raises ValueError.
    """
    _check("init", init, list(INITS))
    if draw := INITS[init]:
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                draw(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)


class MLP(nn.Module):
    """A perceptron of linear layers with ReLU between them; `hidden` are the sizes of all but the last.

    Raises ValueError unless these are whole numbers.
    """

    def __init__(
        self,
        hidden: Sequence[int],
        init: str = "torch",
        image_shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
    ) -> None:
        if not isinstance(hidden, list | tuple) or not all(type(size) is int and size > 0 for size in hidden):
            raise ValueError(f"hidden={hidden}: must be a list of whole numbers above 0, such as [80, 40, 20]")
        super().__init__()
        sizes = [math.prod(image_shape), *hidden, classes]
        self.depth = len(sizes) - 1
        for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            self.add_module(f"linear{number}", nn.Linear(inputs, outputs))
        initialize(self, init)

    def native_chain(self) -> list[nn.Linear]:
        """Return the layers that `forward` applies in order, so that training needs no autograd (`native/chain.py`)."""
        return cast(list[nn.Linear], [self.get_submodule(f"linear{number}") for number in range(1, self.depth + 1)])

    def forward(self, images: Tensor) -> Tensor:
        *others, last = self.native_chain()
        features = images.flatten(1)
        for layer in others:
            features = torch.relu(layer(features))
        return last(features)


class ConvBlock(nn.Conv2d):
    """Convolution, activation and 2 x 2 pooling. Max pooling before ReLU gives the same result from fewer values."""

    def __init__(self, channels: int, filters: int, padding: int, activation: str, pooling: str) -> None:
        super().__init__(channels, filters, kernel_size=5, padding=padding)
        self.activation, self.pooling = activation, pooling

    @property
    def is_native(self) -> bool:
        """True if `forward` is `conv_pool_relu`."""
        return (self.activation, self.pooling) == ("relu", "max")

    def forward(self, images: Tensor) -> Tensor:
        if not self.is_native:
            return POOLINGS[self.pooling](ACTIVATIONS[self.activation](super().forward(images)), 2)
        assert self.bias is not None
        return conv_pool_relu(images, self.weight, self.bias, int(self.padding[0]))


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998, figure 2) as built today: ReLU, max pooling, all maps connected.

    It has 61,706 weights for MNIST. `padding` of the first convolution is 2 or 0. Raises ValueError for unknown values
    and for images that are too small.
    """

    def __init__(
        self,
        init: str = "torch",
        activation: str = "relu",
        pooling: str = "max",
        padding: int = 2,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
    ) -> None:
        _check("activation", activation, list(ACTIVATIONS))
        _check("pooling", pooling, list(POOLINGS))
        _check("padding", padding, [2, 0])
        super().__init__()
        channels, height, width = image_shape
        rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))
        if min(rows, columns) < 1:
            least = 16 - 2 * padding
            raise ValueError(f"images of {height} x {width}: LeNet needs {least} x {least} or more")
        self.conv1 = ConvBlock(channels, 6, padding, activation, pooling)
        self.conv2 = ConvBlock(6, 16, 0, activation, pooling)
        self.linear1 = nn.Linear(16 * rows * columns, 120)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, classes)
        self.activation = activation
        initialize(self, init)

    def native_chain(self) -> list[ConvBlock | nn.Linear]:
        """Return the layers that `forward` applies in order."""
        return [self.conv1, self.conv2, self.linear1, self.linear2, self.linear3]

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv2(self.conv1(images))  # (B, 16, 5, 5) for MNIST
        activate = ACTIVATIONS[self.activation]
        return self.linear3(activate(self.linear2(activate(self.linear1(maps.flatten(1))))))
