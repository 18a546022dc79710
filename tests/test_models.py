import pytest
import torch
from torch import nn

from src.models import MLP, LeNet


def test_lenet_has_the_layers_of_its_definition() -> None:
    shapes = {name: tuple(weight.shape) for name, weight in LeNet().named_parameters() if name.endswith("weight")}
    assert shapes == {
        "conv1.weight": (6, 1, 5, 5),
        "conv2.weight": (16, 6, 5, 5),
        "linear1.weight": (120, 400),
        "linear2.weight": (84, 120),
        "linear3.weight": (10, 84),
    }
    assert sum(weight.numel() for weight in LeNet().parameters()) == 61_706


def test_lenet_equals_the_textbook_order_of_relu_before_pooling() -> None:
    torch.manual_seed(0)
    model, images = LeNet(), torch.randn(7, 1, 28, 28)
    textbook = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    textbook.load_state_dict(dict(zip(textbook.state_dict(), model.state_dict().values(), strict=True)))
    torch.testing.assert_close(model(images), textbook(images))
    ours = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    theirs = torch.autograd.grad(textbook(images).square().sum(), list(textbook.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_lenet_keeps_nan() -> None:
    assert LeNet()(torch.full((2, 1, 28, 28), torch.nan)).isnan().all()


def test_mlp_is_four_linear_layers() -> None:
    sizes = [
        (layer.in_features, layer.out_features) for layer in MLP([5, 6, 7]).children() if isinstance(layer, nn.Linear)
    ]
    assert sizes == [(784, 5), (5, 6), (6, 7), (7, 10)]
    assert MLP([5, 6, 7])(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("hidden", [[], [1, 2], [1, 2, 3, 4], [1, 0, 2], [1, 2.5, 3]])
def test_mlp_refuses_other_depths(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match="three whole numbers"):
        MLP(hidden)
