import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from src.errors import UserError
from src.models import MLP
from src.runs.settings import Settings
from src.targets import build, new_model


def test_builds_the_class_with_the_other_keys() -> None:
    node = {"_target_": "src.models.MLP", "hidden": [3, 4, 5]}
    assert isinstance(build("model", node, nn.Module), MLP)
    assert node == {"_target_": "src.models.MLP", "hidden": [3, 4, 5]}
    optimizer = build("optimizer", {"_target_": "torch.optim.SGD"}, Optimizer, [torch.zeros(1)], lr=0.3)
    assert optimizer.defaults["lr"] == 0.3


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({}, "_target_=None: must be a class"),
        ({"_target_": 3}, "_target_=3: must be a class"),
        ({"_target_": "no.such.Thing"}, "cannot be imported .*No module named 'no'"),
        ({"_target_": "src.models.ResNet"}, "cannot be imported .*ResNet"),
        ({"_target_": "not a name"}, "cannot be imported"),
        ({"_target_": "builtins.open"}, "is no Module"),
        ({"_target_": "torch.hub.load", "repo_or_dir": "x"}, "is no Module"),
        ({"_target_": "torch.optim.SGD"}, "is no Module"),
        ({"_target_": "src.models.MLP", "hidden": [1]}, "three whole numbers"),
        ({"_target_": "src.models.LeNet", "width": 3}, "unexpected keyword argument 'width'"),
    ],
)
def test_builds_nothing_else(node: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=f"model.*{complaint}"):
        build("model", node, nn.Module)


def test_a_nested_target_is_not_called() -> None:
    nested = {"_target_": "sys.setrecursionlimit", "limit": 77}
    built = build("model", {"_target_": "torch.nn.Identity", "nested": nested}, nn.Module)
    assert isinstance(built, nn.Identity)
    assert sys.getrecursionlimit() != 77


class Embedding(nn.Embedding):
    def __init__(self) -> None:
        super().__init__(10, 10)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("torch.nn.Flatten", r"shape \(2, 784\); must be \(2, 10\)"),
        ("tests.test_targets.Embedding", "does not take images"),
    ],
)
def test_a_model_must_map_images_to_ten_logits(target: str, complaint: str) -> None:
    settings = Settings("mnist", 0, {"_target_": target}, {}, {}, 0.1, 1, 1, 0)
    with pytest.raises(UserError, match=complaint):
        new_model(settings)
