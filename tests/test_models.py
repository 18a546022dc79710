import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


@pytest.mark.parametrize("padding", [2, 0])
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_variants_of_lenet_equal_the_textbook(activation: str, pooling: str, padding: int) -> None:
    torch.manual_seed(0)
    model, images = LeNet("torch", activation, pooling, padding), torch.randn(7, 1, 28, 28)
    unit = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[activation]
    pool = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pooling]
    textbook = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=padding), unit(), pool(2), nn.Conv2d(6, 16, 5), unit(), pool(2), nn.Flatten()),
        *(nn.Linear(400 if padding else 256, 120), unit(), nn.Linear(120, 84), unit(), nn.Linear(84, 10)),
    )
    textbook.load_state_dict(dict(zip(textbook.state_dict(), model.state_dict().values(), strict=True)))
    torch.testing.assert_close(model(images), textbook(images))


@pytest.mark.parametrize(("init", "gain"), [("torch", 1 / 3), ("kaiming_normal", 2.0), ("xavier_uniform", None)])
@pytest.mark.parametrize("model", [MLP, LeNet])
def test_weights_have_the_variance_of_their_initialisation(model: type[MLP | LeNet], init: str, gain: float) -> None:
    torch.manual_seed(0)
    network = LeNet(init) if model is LeNet else MLP([300, 200, 100], init)
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            area = layer.weight[0, 0].numel()
            inputs, outputs = layer.weight[0].numel(), len(layer.weight) * area
            variance = gain / inputs if gain else 2 / (inputs + outputs)
            sd_of_it = variance * (3 / layer.weight.numel()) ** 0.5
            assert abs(layer.weight.var().item() - variance) < 4 * sd_of_it, layer
            assert layer.bias is not None
            assert bool(layer.bias.any()) == (init == "torch")


@pytest.mark.parametrize(
    ("key", "value"), [("init", "he"), ("activation", "relu6"), ("pooling", "min"), ("padding", 1), ("padding", True)]
)
def test_other_variants_of_lenet_are_errors(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{key}={value}: must be one of: "):
        LeNet(**{key: value})  # type: ignore[arg-type]


def test_lenet_keeps_nan() -> None:
    assert LeNet()(torch.full((2, 1, 28, 28), torch.nan)).isnan().all()


def test_mlp_is_four_linear_layers() -> None:
    sizes = [
        (layer.in_features, layer.out_features) for layer in MLP([5, 6, 7]).children() if isinstance(layer, nn.Linear)
    ]
    assert sizes == [(784, 5), (5, 6), (6, 7), (7, 10)]
    assert MLP([5, 6, 7])(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("hidden", [[], [5], [5, 6, 7, 8, 9]])
def test_an_mlp_may_have_any_depth(hidden: list[int]) -> None:
    layers = [layer for layer in MLP(hidden).children() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in layers] == [*hidden, 10]


@pytest.mark.parametrize("hidden", [[1, 0, 2], [1, 2.5, 3], [True], 3])
def test_wrong_sizes_of_an_mlp_are_errors(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match="list of whole numbers"):
        MLP(hidden)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(12, 40), st.integers(12, 40), st.integers(2, 300))
def test_networks_follow_the_data(channels: int, height: int, width: int, classes: int) -> None:
    shape = channels, height, width
    images = torch.randn(3, *shape)
    for model in (LeNet(image_shape=shape, classes=classes), MLP([5], image_shape=shape, classes=classes)):
        assert model(images).shape == (3, classes)


def test_too_small_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="images of 11 x 28: LeNet needs 12 x 12 or more"):
        LeNet(image_shape=(1, 11, 28))
    with pytest.raises(ValueError, match="LeNet needs 16 x 16 or more"):
        LeNet(image_shape=(1, 28, 15), padding=0)
