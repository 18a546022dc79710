"""The networks: plain modules from images (B, 1, 28, 28) to logits (B, 10)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu


class MLP(nn.Sequential):
    """A multi-layer perceptron of four linear layers, ReLU between them. Raises ValueError unless `hidden` is three."""

    def __init__(self, hidden: Sequence[int]) -> None:
        if (
            not isinstance(hidden, list | tuple)
            or len(hidden) != 3
            or not all(isinstance(size, int) and size > 0 for size in hidden)
        ):
            raise ValueError(f"hidden={hidden}: must be three whole numbers above 0, such as [80, 40, 20]")
        first, second, third = hidden
        super().__init__(
            nn.Flatten(),
            *(nn.Linear(28 * 28, first), nn.ReLU()),
            *(nn.Linear(first, second), nn.ReLU()),
            *(nn.Linear(second, third), nn.ReLU()),
            nn.Linear(third, 10),
        )


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998, figure 2) as built today: ReLU, max pooling, all maps connected, 61,706 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.linear1 = nn.Linear(16 * 5 * 5, 120)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        # ReLU after the pooling is the same function as before it, on a quarter of the values.
        maps = relu(max_pool2d(self.conv1(images), 2))  # (B, 6, 14, 14)
        maps = relu(max_pool2d(self.conv2(maps), 2))  # (B, 16, 5, 5)
        features = relu(self.linear2(relu(self.linear1(maps.flatten(1)))))  # (B, 84)
        return self.linear3(features)
