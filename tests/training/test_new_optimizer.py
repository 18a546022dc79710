"""Optimizers get what their constructors ask for: parameters in groups, the network, names, other optimizers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from src.config.settings import Settings
from src.errors import UserError
from src.models import LeNet
from src.optimizers import Combined
from src.training.learning_rates import LearningRates
from src.training.new_optimizer import new_optimizer
from tests.training.test_own_state import IMAGES, Killed, train

SGD_NODE = {"_target_": "torch.optim.SGD", "momentum": 0.9}
ADAMW = "torch.optim.AdamW"


class OfNetwork(SGD):
    """Takes the network."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__(model.parameters(), lr=lr)
        self.network = model


class OfNames(SGD):
    """Takes parameters and names, and adds what it decides by name."""

    def __init__(self, params: Any, lr: float, named_parameters: Any, model: nn.Module) -> None:
        super().__init__(params, lr=lr)
        self.names, self.network = [name for name, _ in named_parameters], model


class Around(Optimizer):
    """Takes an optimizer, as Lookahead does."""

    def __init__(self, base: Optimizer, k: int = 5) -> None:
        self.base, self.k = base, k
        super().__init__(base.param_groups, {})


class Wrapper(Optimizer):
    """Takes parameters, a class and its arguments, as SAM does."""

    def __init__(self, params: Any, base: Any, rho: float = 0.05, **kwargs: Any) -> None:
        super().__init__(params, {"rho": rho, **kwargs})
        self.base = base(self.param_groups, **kwargs)


class Beside(Optimizer):
    """Takes parameters and an optimizer."""

    def __init__(self, params: Any, lr: float, base: Optimizer) -> None:
        super().__init__(params, {"lr": lr})
        self.base = base


HERE = f"{__name__}."


def names(optimizer: Optimizer, model: nn.Module) -> list[list[str]]:
    """Return the names of the parameters in each group."""
    of = {parameter: name for name, parameter in model.named_parameters()}
    return [[of[parameter] for parameter in group["params"]] for group in optimizer.param_groups]


def test_the_network_and_the_names() -> None:
    model = LeNet()
    one: Any = new_optimizer({"_target_": HERE + "OfNetwork"}, model, 0.1)
    assert one.network is model
    other: Any = new_optimizer({"_target_": HERE + "OfNames"}, model, 0.1)
    assert other.names == [name for name, _ in model.named_parameters()]
    assert other.network is model


def test_optimizers_within() -> None:
    model = LeNet()
    around: Any = new_optimizer({"_target_": HERE + "Around", "base": SGD_NODE, "k": 3}, model, 0.1)
    assert (type(around.base), around.k) == (SGD, 3)
    assert around.base.param_groups[0]["momentum"] == 0.9
    wrapper: Any = new_optimizer({"_target_": HERE + "Wrapper", "rho": 0.1, "base": SGD_NODE}, model, 0.1)
    assert type(wrapper.base) is SGD
    assert wrapper.base.param_groups[0]["momentum"] == 0.9
    assert wrapper.param_groups[0]["rho"] == 0.1
    beside: Any = new_optimizer({"_target_": HERE + "Beside", "base": SGD_NODE}, model, 0.1)
    assert names(beside.base, model) == names(beside, model)
    deep: Any = new_optimizer(
        {"_target_": HERE + "Around", "base": {"_target_": HERE + "Around", "base": SGD_NODE}}, model, 0.1
    )
    assert type(deep.base.base) is SGD


def test_groups_by_kind_and_by_name() -> None:
    model = LeNet()
    groups = [
        {"params": "biases", "weight_decay": 0.0},
        {"params": ["linear3*", "conv1.weight"], "lr_factor": 0.1},
    ]
    optimizer = new_optimizer({"_target_": ADAMW, "weight_decay": 0.3, "groups": groups}, model, 0.01)
    rest = ["conv2.weight", "linear1.weight", "linear2.weight"]
    biases = ["conv1.bias", "conv2.bias", "linear1.bias", "linear2.bias", "linear3.bias"]
    assert names(optimizer, model) == [rest, biases, ["conv1.weight", "linear3.weight"]]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0, 0.3]
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01, 0.01 * 0.1]


def test_kinds() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 2))
    found = {}
    for kind in ("matrices", "convolutions", "biases", "norms", "last_layer"):
        optimizer = new_optimizer({"_target_": ADAMW, "groups": [{"params": kind}]}, model, 0.1)
        found[kind] = names(optimizer, model)[-1]
    assert found == {
        "matrices": ["3.weight", "4.weight"],
        "convolutions": ["0.weight"],
        "biases": ["0.bias", "3.bias", "4.bias"],
        "norms": ["1.weight", "1.bias"],
        "last_layer": ["4.weight", "4.bias"],
    }


def test_two_classes_divide_the_parameters() -> None:
    model = LeNet()
    groups = [{"params": ["biases", "convolutions", "last_layer"], "_target_": ADAMW, "lr_factor": 0.05, "eps": 1e-6}]
    optimizer = new_optimizer({"_target_": "torch.optim.Muon", "groups": groups}, model, 0.02)
    assert isinstance(optimizer, Combined)
    assert [type(each).__name__ for each in optimizer.optimizers] == ["Muon", "AdamW"]
    assert names(optimizer, model)[0] == ["linear1.weight", "linear2.weight"]
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02 * 0.05]
    LearningRates(optimizer, 0.02).set(0.002)
    assert [group["lr"] for group in optimizer.optimizers[1].param_groups] == [pytest.approx(0.002 * 0.05)]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": ADAMW, "groups": {"params": "biases"}}, r"optimizer.groups=.*must be a list of groups"),
        ({"_target_": ADAMW, "groups": [{"weight_decay": 0}]}, r"each with params: matrices, convolutions"),
        (
            {"_target_": ADAMW, "groups": [{"params": "conv9*"}]},
            r"no parameter is left for params conv9\*; .* linear3.bias",
        ),
        ({"_target_": ADAMW, "groups": [{"params": "biases", "lr": 0.1}]}, r"give lr_factor, a number"),
        ({"_target_": ADAMW, "groups": [{"params": "biases", "lr_factor": "a"}]}, r"give lr_factor, a number"),
        (
            {"_target_": ADAMW, "groups": [{"params": "biases", "momentum": 0}]},
            r"has no setting momentum; it has: lr_f",
        ),
        ({"_target_": HERE + "OfNetwork", "groups": [{"params": "biases"}]}, r"takes no parameter groups"),
        ({"_target_": HERE + "Wrapper", "base": {"_target_": "torch.nn.Linear"}}, r"Linear is not a subclass"),
        ({"_target_": HERE + "Wrapper", "base": {"_target_": "nowhere.SGD"}}, r"nowhere.SGD cannot be imported"),
        ({"_target_": HERE + "Around", "base": {"_target_": "torch.optim.SGD", "beta": 1}}, r"takes no such argument"),
    ],
)
def test_what_does_not_fit_is_one_line(node: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        new_optimizer(node, LeNet(), 0.1)
    assert "\n" not in str(caught.value)


def test_a_module_of_an_inner_optimizer_that_exits_when_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "an_optimizer_script.py").write_text("raise SystemExit('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": HERE + "Wrapper", "base": {"_target_": "an_optimizer_script.Inner"}}
    with pytest.raises(
        UserError, match=r"^optimizer: an_optimizer_script.Inner cannot be imported \(SystemExit: two l"
    ):
        new_optimizer(node, LeNet(), 0.1)


def test_a_combined_optimizer_is_its_parts_and_resumes(tmp_path: Path) -> None:
    """Beside a plain loop with both optimizers."""
    groups = [{"params": "biases", "_target_": ADAMW, "lr_factor": 0.5}]
    plain = {"_target_": "tests.helpers.own_networks.Plain"}
    wanted = Settings(
        "mine", 0, "half", plain, SGD_NODE | {"groups": groups}, {"_target_": "src.schedules.Schedule"}, 0.1, 32, 3, 3
    )
    alone = train(tmp_path / "alone", wanted)
    with pytest.raises(Killed):
        train(tmp_path / "killed", wanted, 2)
    killed = train(tmp_path / "killed", wanted)
    from src.training.datamodule import minibatches
    from tests.helpers.own_networks import Plain
    from tests.helpers.runs import assert_same

    assert_same(alone.directory, killed.directory)
    torch.manual_seed(3)
    model = Plain()
    weights, biases = ([p for p in model.parameters() if (p.dim() == 1) is is_bias] for is_bias in (False, True))
    both = SGD(weights, lr=0.1, momentum=0.9), AdamW(biases, lr=0.05)
    images = torch.from_numpy(IMAGES.train_images).float().div(255).sub(0.5).div(0.5)
    labels = torch.from_numpy(IMAGES.train_labels).long()
    for epoch in range(3):
        for indices in minibatches(3, epoch, 32, len(labels)):
            model.zero_grad()
            nn.functional.cross_entropy(model(images[indices]), labels[indices]).backward()
            for optimizer in both:
                optimizer.step()
    found = torch.load(alone.checkpoint, weights_only=True)["state_dict"]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(found[f"model.{key}"], value, rtol=1e-4, atol=1e-6)
