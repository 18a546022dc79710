"""The networks: plain modules from images (B, 1, 28, 28) to logits (B, 10)."""

from collections.abc import Sequence

from torch import Tensor, nn

from src.native.convolution import conv_pool_relu
from src.native.linear import perceptron


class MLP(nn.Module):
    """A multi-layer perceptron of four linear layers, ReLU between them. Raises ValueError unless `hidden` is three."""

    def __init__(self, hidden: Sequence[int]) -> None:
        if (
            not isinstance(hidden, list | tuple)
            or len(hidden) != 3
            or not all(isinstance(size, int) and size > 0 for size in hidden)
        ):
            raise ValueError(f"hidden={hidden}: must be three whole numbers above 0, such as [80, 40, 20]")
        super().__init__()
        first, second, third = hidden
        self.linear1 = nn.Linear(28 * 28, first)
        self.linear2 = nn.Linear(first, second)
        self.linear3 = nn.Linear(second, third)
        self.linear4 = nn.Linear(third, 10)

    def forward(self, images: Tensor) -> Tensor:
        return perceptron(images, [self.linear1, self.linear2, self.linear3, self.linear4])


class ConvBlock(nn.Conv2d):
    """Convolution, 2 x 2 max pooling and ReLU: after the pooling the same function as before it, of fewer values."""

    def __init__(self, channels: int, filters: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__(channels, filters, kernel_size, padding=padding)

    def forward(self, images: Tensor) -> Tensor:
        assert self.bias is not None
        return conv_pool_relu(images, self.weight, self.bias, int(self.padding[0]))


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998, figure 2) as built today: ReLU, max pooling, all maps connected, 61,706 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBlock(1, 6, kernel_size=5, padding=2)
        self.conv2 = ConvBlock(6, 16, kernel_size=5)
        self.linear1 = nn.Linear(16 * 5 * 5, 120)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv2(self.conv1(images))  # (B, 16, 5, 5)
        return perceptron(maps, [self.linear1, self.linear2, self.linear3])
