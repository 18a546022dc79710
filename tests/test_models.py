import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

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
        *(model.conv1, nn.ReLU(), nn.MaxPool2d(2), model.conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(model.linear1, nn.ReLU(), model.linear2, nn.ReLU(), model.linear3),
    )
    ours = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    theirs = torch.autograd.grad(textbook(images).square().sum(), list(model.parameters()))
    assert torch.equal(model(images), textbook(images))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_pooling_and_relu_keep_nan() -> None:
    maps = torch.full((1, 1, 2, 2), -1.0)
    maps[0, 0, 0, 0] = torch.nan
    assert relu(max_pool2d(maps, 2)).isnan().all()


def test_mlp_is_four_linear_layers() -> None:
    sizes = [(layer.in_features, layer.out_features) for layer in MLP([5, 6, 7]) if isinstance(layer, nn.Linear)]
    assert sizes == [(784, 5), (5, 6), (6, 7), (7, 10)]
    assert MLP([5, 6, 7])(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("hidden", [[], [1, 2], [1, 2, 3, 4], [1, 0, 2], [1, 2.5, 3]])
def test_mlp_refuses_other_depths(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match="three whole numbers"):
        MLP(hidden)
