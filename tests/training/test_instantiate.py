import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from src.config.settings import Settings
from src.errors import UserError
from src.instantiate import instantiate
from src.models import MLP
from src.network import new_model
from src.schedules import Schedule


def test_instantiates_the_target_with_the_other_keys() -> None:
    node = {"_target_": "src.models.MLP", "hidden": [3, 4, 5]}
    assert isinstance(instantiate("model", node, nn.Module), MLP)
    assert node == {"_target_": "src.models.MLP", "hidden": [3, 4, 5]}
    optimizer = instantiate("optimizer", {"_target_": "torch.optim.SGD"}, Optimizer, [torch.zeros(1)], lr=0.3)
    assert optimizer.defaults["lr"] == 0.3


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({}, "_target_=None: must be a class"),
        ({"_target_": 3}, "_target_=3: must be a class"),
        ({"_target_": "no.such.Thing"}, "cannot be imported .*No module named 'no'"),
        ({"_target_": "src.models.ResNet"}, "cannot be imported .*ResNet"),
        ({"_target_": "not a name"}, "cannot be imported"),
        ({"_target_": "builtins.open"}, "is not a subclass of Module"),
        ({"_target_": "torch.hub.load", "repo_or_dir": "x"}, "is not a subclass of Module"),
        ({"_target_": "torch.optim.SGD"}, "is not a subclass of Module"),
        ({"_target_": "src.models.MLP", "hidden": [0]}, "whole numbers above 0"),
        (
            {"_target_": "src.models.LeNet", "width": 3},
            r"\.width: LeNet takes no such argument; it takes: init, activation, pooling, padding",
        ),
        ({"_target_": "torch.nn.Linear", "out": 3}, r"\.out: .*; it takes: in_features, out_features, bias, device"),
        ({"_target_": "src.models.MLP"}, "MLP cannot be built from {}: TypeError: .*missing 1 required .*'hidden'"),
    ],
)
def test_rejects_other_targets(node: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=f"model.*{complaint}"):
        instantiate("model", node, nn.Module)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (
            {"betas": [0.9]},
            r"optimizer: torch.optim.Adam cannot be built from {'betas': \[0.9\]}: IndexError: list index",
        ),
        ({"betas": 3}, "from {'betas': 3}: TypeError: 'int' object is not subscriptable"),
        ({"betas": {"beta1": 0.9}}, "KeyError: 0"),
        ({"eps": -1}, "from {'eps': -1}: Invalid epsilon value: -1$"),
        ({"momentum": 0.9}, r"optimizer\.momentum: Adam takes no such argument; it takes: betas, eps, weight_decay, "),
        ({"params": []}, r"optimizer\.params: Adam takes no such argument"),
        ({"lr": 0.3}, r"optimizer\.lr=0.3: is set at the top level; write lr=0.3$"),
    ],
)
def test_names_the_wrong_arguments_of_an_optimizer(fields: dict[str, Any], complaint: str) -> None:
    node = {"_target_": "torch.optim.Adam", **fields}
    with pytest.raises(UserError, match=complaint) as refusal:
        instantiate("optimizer", node, Optimizer, [torch.zeros(1)], lr=0.1)
    assert "\n" not in str(refusal.value)


def test_the_error_says_how_to_write_a_schedule() -> None:
    node = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 3}
    with pytest.raises(
        UserError, match=r"subclass of src\.schedules\.Schedule.*decay\(epoch\).*conf/schedule/NAME\.yaml"
    ):
        instantiate("schedule", node, Schedule, epochs=3)


class Raising(nn.Module):
    """A network that raises `error` when it is built or called."""

    def __init__(self, error: str, when_called: bool) -> None:
        super().__init__()
        self.error = error
        if not when_called:
            self.forward(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        raise getattr(builtins, self.error)


ERRORS = "IndexError", "KeyError", "AttributeError", "AssertionError", "ZeroDivisionError", "OSError", "StopIteration"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("when_called", [False, True])
def test_any_error_of_a_network_becomes_a_one_line_message(error: str, when_called: bool) -> None:
    node = {"_target_": "tests.training.test_instantiate.Raising", "error": error, "when_called": when_called}
    said = "does not take images" if when_called else rf"tests\..*\.Raising cannot be built from .*'{error}'"
    with pytest.raises(UserError, match=rf"^model: {said}.*: {error}: "):
        new_model(Settings("mnist", 0, "half", node, {}, {}, 0.1, 1, 1, 0), (1, 28, 28), 10)


def test_a_module_that_exits_when_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_script.py").write_text("raise SystemExit(2)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"cannot be imported \(SystemExit: 2\)"):
        instantiate("model", {"_target_": "a_script.Net"}, nn.Module)


def test_a_nested_target_is_not_called() -> None:
    nested = {"_target_": "sys.setrecursionlimit", "limit": 77}
    built = instantiate("model", {"_target_": "torch.nn.Identity", "nested": nested}, nn.Module)
    assert isinstance(built, nn.Identity)
    assert sys.getrecursionlimit() != 77


class Embedding(nn.Embedding):
    def __init__(self) -> None:
        super().__init__(10, 10)


class Pair(nn.Flatten):
    def forward(self, images: Tensor) -> Any:
        return images, images


class Guess(nn.Flatten):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).argmax(1)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("torch.nn.Flatten", r"shape \(2, 784\); must be \(2, 10\)"),
        ("tests.training.test_instantiate.Embedding", "does not take images"),
        ("tests.training.test_instantiate.Pair", "its output is of type tuple; must be a tensor"),
        ("tests.training.test_instantiate.Guess", r"its output is of type torch\.int64; must be a tensor of float"),
    ],
)
def test_a_model_must_map_images_to_ten_logits(target: str, complaint: str) -> None:
    settings = Settings("mnist", 0, "half", {"_target_": target}, {}, {}, 0.1, 1, 1, 0)
    with pytest.raises(UserError, match=complaint):
        new_model(settings, (1, 28, 28), 10)
