"""Runs, compared with a training loop and networks in plain torch, which take only the minibatch order from src."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu
from torch.optim import SGD, Adagrad, Adam, Optimizer

from src.config.settings import ConfigChoices, Settings
from src.data.images import Images
from src.native.build import backend
from src.native.chain import Chain
from src.runs.directory import Run
from src.training.datamodule import epoch_seed, minibatches
from src.training.trainer import Training, set_up_process
from tests.helpers.commands import ROOT
from tests.helpers.images import bars
from tests.helpers.runs import run_of

pytestmark = pytest.mark.usefixtures("blank_error_figures")


def plain_dropout() -> nn.Sequential:
    """Return a network whose random numbers depend on how often and in which order it is evaluated."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Dropout(0.5), nn.Linear(30, 10))


class Dropping(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(*plain_dropout())


class PlainLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.linear1, self.linear2, self.linear3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = relu(max_pool2d(self.conv1(images), 2))
        maps = relu(max_pool2d(self.conv2(maps), 2))
        return self.linear3(relu(self.linear2(relu(self.linear1(maps.flatten(1))))))


def plain_mlp() -> nn.Module:
    layers = [module for n, m in ((784, 80), (80, 40), (40, 20)) for module in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(20, 10))


CONSTANT = {"_target_": "src.schedules.Schedule"}
MODELS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
    "lenet": ({"_target_": "src.models.LeNet"}, PlainLeNet),
    "mlp": ({"_target_": "src.models.MLP", "hidden": [80, 40, 20]}, plain_mlp),
}
DROPPING = {"_target_": "tests.training.test_oracle.Dropping"}
OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[Iterable[nn.Parameter]], Optimizer]]] = {
    "sgd": (
        {"_target_": "torch.optim.SGD", "momentum": 0.9, "fused": True},
        lambda parameters: SGD(parameters, lr=0.01, momentum=0.9, fused=True),
    ),
    "adagrad": (
        {"_target_": "torch.optim.Adagrad", "fused": True},
        lambda parameters: Adagrad(parameters, lr=0.01, fused=True),
    ),
    "adam": (
        {"_target_": "torch.optim.Adam", "fused": True},
        lambda parameters: Adam(parameters, lr=0.01, fused=True),
    ),
}
SEED, BATCH, EPOCHS = 7, 64, 2
Closure = Callable[[], Tensor]


def evaluate_then_step(optimizer: Optimizer, closure: Closure) -> None:
    closure()
    optimizer.step()


def plain(
    model: nn.Module, optimizer: Optimizer, update: Callable[[Optimizer, Closure], None] = evaluate_then_step
) -> list[dict[str, float]]:
    """Train for two epochs; return the mean losses and accuracies after each."""
    x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in (*bars(300, 1), *bars(80, 2)))
    curve = []
    for epoch in range(EPOCHS):
        loss_sum, correct = 0.0, 0
        torch.manual_seed(epoch_seed(SEED, epoch))  # of dropout
        model.train()
        for batch in minibatches(SEED, epoch, BATCH, len(y_train)):
            evaluations: list[tuple[float, int]] = []

            def closure(batch: Tensor = batch, evaluations: list[tuple[float, int]] = evaluations) -> Tensor:
                logits = model(((x_train[batch].float() / 255 - 0.5) / 0.5)[:, None])
                loss = cross_entropy(logits, y_train[batch].long())
                optimizer.zero_grad()
                loss.backward()
                evaluations.append((loss.item() * len(batch), int((logits.argmax(1) == y_train[batch]).sum())))
                return loss

            update(optimizer, closure)
            loss_sum += evaluations[0][0]
            correct += evaluations[0][1]
        model.eval()
        with torch.no_grad():
            logits = model(((x_test.float() / 255 - 0.5) / 0.5)[:, None])
            test_loss = cross_entropy(logits, y_test.long()).item()
        test_accuracy = (logits.argmax(1) == y_test).double().mean().item()
        figures = {"train_loss": loss_sum / 300, "train_accuracy": correct / 300}
        curve.append(figures | {"test_loss": test_loss, "test_accuracy": test_accuracy})
    return curve


def trained(model: dict[str, Any], optimizer: dict[str, Any], directory: Path) -> tuple[Training, Run]:
    settings = Settings("mnist", 0, "half", model, optimizer, CONSTANT, 0.01, BATCH, EPOCHS, SEED)
    set_up_process(threads=1, cores=1)
    training = Training(settings, Images(*bars(300, 1), *bars(80, 2)), device="cpu")
    run = run_of(settings, directory)
    with run.locked():
        training.train_in(run, Console(quiet=True), ConfigChoices("network", "optimizer", "constant"))
    return training, run


def expected(model: str, optimizer: str) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    network = MODELS[model][1]()
    curve = plain(network, OPTIMIZERS[optimizer][1](network.parameters()))
    return network.state_dict(), curve


def weights_of(run: Run) -> dict[str, Tensor]:
    state = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    return {name.removeprefix("model."): weight for name, weight in state.items()}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_on_torchs_operators_equals_a_plain_loop_bit_for_bit(
    model: str, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.native.build.backend", lambda: "torch: switched off")
    weights, curve = expected(model, optimizer)
    training, run = trained(MODELS[model][0], OPTIMIZERS[optimizer][0], tmp_path)
    ours = weights_of(run)
    assert sum(weight.numel() for weight in ours.values()) == sum(weight.numel() for weight in weights.values())
    for weight, plain_weight in zip(ours.values(), weights.values(), strict=True):  # the networks name them differently
        assert torch.equal(weight, plain_weight)
    for row, theirs in zip(training.classifier.curve, curve, strict=True):
        assert {key: row[key] for key in theirs} == pytest.approx(theirs, rel=1e-6)
    figures = run.record()["figures"]
    assert {key: figures[key] for key in curve[-1]} == pytest.approx(curve[-1], rel=1e-6)
    assert figures["updates"] == EPOCHS * int(np.ceil(300 / BATCH))


def test_the_documented_loop_is_a_run_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.native.build.backend", lambda: "torch: switched off")
    (loop,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)
    x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in (*bars(300, 1), *bars(80, 2)))
    found: dict[str, Any] = {"seed": SEED, "lr": 0.01, "epochs": EPOCHS, "batch_size": BATCH, "epoch_seed": epoch_seed}
    found |= {
        "x_train": x_train[:, None],
        "y_train": y_train.long(),
        "x_test": x_test[:, None],
        "y_test": y_test.long(),
    }
    torch.set_num_threads(1)
    exec(loop, found)
    training, run = trained(MODELS["lenet"][0], OPTIMIZERS["adam"][0], tmp_path)
    for name, weight in found["model"].state_dict().items():
        assert torch.equal(weights_of(run)[name], weight)
    last = training.classifier.curve[-1]
    expected = {key: found[key] for key in ("test_loss", "test_accuracy")}
    assert {key: last[key] for key in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_on_the_native_code_is_near_a_plain_loop(model: str, optimizer: str, tmp_path: Path) -> None:
    """After 10 updates a weight differs by less than 1e-3 and a mean loss by less than 5e-5, with SGD.

    AdaGrad and Adam turn even a gradient that is only rounding error into an update of up to the lr, 0.01. A plain loop
    with initial weights changed by a relative 1e-7 differs by 0.0098 in a weight and by 1.4e-3 in a loss.
    """
    largest, of_losses = (1e-3, 5e-5) if optimizer == "sgd" else (1.1e-2, 2e-3)
    assert backend().startswith("native")
    weights, curve = expected(model, optimizer)
    training, run = trained(MODELS[model][0], OPTIMIZERS[optimizer][0], tmp_path)
    for (name, ours), theirs in zip(weights_of(run).items(), weights.values(), strict=True):
        assert (ours - theirs).abs().max() < largest, name
        assert (ours - theirs).abs().mean() < 2e-4, name
    for row, plain_row in zip(training.classifier.curve, curve, strict=True):
        losses = {key: loss for key, loss in plain_row.items() if "loss" in key}
        assert {key: row[key] for key in losses} == pytest.approx(losses, abs=of_losses)


class Descent(Optimizer):
    """Base class of the following optimizers."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @torch.no_grad()
    def descend(self) -> None:
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-self.param_groups[0]["lr"])


class IgnoresClosure(Descent):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.descend()


class TakesNoClosure(Descent):
    def step(self) -> None:  # type: ignore[override]
        self.descend()


class TakesNoClosureButAScale(Descent):
    def step(self, scale: float = 1.0) -> None:  # type: ignore[override]
        assert scale == 1.0
        self.descend()


class TakesClosureByName(Descent):
    def step(self, *, closure: Any = None) -> None:  # type: ignore[override]
        closure()
        self.descend()


class CallsClosure(Descent):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure()
        self.descend()


class ClearsGradientsFirst(Descent):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.zero_grad(set_to_none=False)
        closure()
        self.descend()


class CallsClosureTwice(Descent):
    """Sharpness-aware minimization (Foret et al. 2021)."""

    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()
        self.ascend_and_descend(closure)

    def ascend_and_descend(self, closure: Any) -> None:
        ascents = [0.05 * torch.sign(parameter.grad) for parameter in self.parameters if parameter.grad is not None]
        for parameter, ascent in zip(self.parameters, ascents, strict=True):
            parameter.data.add_(ascent)
        closure()
        for parameter, ascent in zip(self.parameters, ascents, strict=True):
            parameter.data.sub_(ascent)
        self.descend()


class CallsClosureElsewhere(CallsClosureTwice):
    """The same, but with the gradients that already exist, as it is commonly written."""

    def step(self, closure: Any) -> None:  # type: ignore[override]
        self.ascend_and_descend(closure)


class AddsUpGradients(Descent):
    """Updates after every second minibatch."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr)
        self.minibatches = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        if self.minibatches % 2 == 0:
            super().zero_grad()
        self.minibatches += 1

    def step(self) -> None:  # type: ignore[override]
        if self.minibatches % 2 == 0:
            self.descend()


class KeepsGradientsInOneTensor(Descent):
    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr)
        self.gradients = torch.zeros(sum(parameter.numel() for parameter in self.parameters))
        parts = self.gradients.split([parameter.numel() for parameter in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.gradients.zero_()

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        weights = nn.utils.parameters_to_vector(self.parameters)
        nn.utils.vector_to_parameters(weights - self.param_groups[0]["lr"] * self.gradients, self.parameters)


class CallsInherited(SGD):
    """As `CallsClosure`, through the inherited step of torch."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def step_with_named_closure(optimizer: Any, closure: Closure) -> None:
    optimizer.step(closure=closure)


def step_with_closure(optimizer: Optimizer, closure: Closure) -> None:
    optimizer.step(closure)  # type: ignore[arg-type]


def evaluate_then_step_with_closure(optimizer: Optimizer, closure: Closure) -> None:
    closure()
    optimizer.step(closure)  # type: ignore[arg-type]


# How a plain loop uses each optimizer, and how often the native code computes gradients for it, a minibatch.
USES: dict[type[Any], tuple[Callable[[Optimizer, Closure], None], float]] = {
    CallsInherited: (step_with_closure, 1),
    CallsClosure: (step_with_closure, 1),
    ClearsGradientsFirst: (step_with_closure, 1),
    CallsClosureTwice: (step_with_closure, 2),
    CallsClosureElsewhere: (evaluate_then_step_with_closure, 2),
    IgnoresClosure: (evaluate_then_step, 1),
    TakesNoClosure: (evaluate_then_step, 1),
    TakesNoClosureButAScale: (evaluate_then_step, 1),
    TakesClosureByName: (step_with_named_closure, 1),
    AddsUpGradients: (evaluate_then_step, 0.5),
    KeepsGradientsInOneTensor: (evaluate_then_step, 0),
}


@pytest.mark.parametrize("optimizer", USES)
def test_the_native_code_computes_the_gradients_of_any_optimizer(
    optimizer: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend().startswith("native")
    update, evaluations = USES[optimizer]
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    network = plain_mlp()
    curve = plain(network, optimizer(network.parameters(), lr=0.01), update)
    native, calls = Chain.train, []

    def train(*arguments: Any) -> Any:
        calls.append(arguments)
        return native(*arguments)

    monkeypatch.setattr(Chain, "train", train)
    target = {"_target_": f"{optimizer.__module__}.{optimizer.__qualname__}"}
    training, run = trained(MODELS["mlp"][0], target, tmp_path)
    assert len(calls) == evaluations * EPOCHS * 5
    for ours, theirs in zip(weights_of(run).values(), network.state_dict().values(), strict=True):
        assert (ours - theirs).abs().max() < 1e-5
    for row, plain_row in zip(training.classifier.curve, curve, strict=True):
        assert {key: row[key] for key in plain_row} == pytest.approx(plain_row, rel=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "update"),
    [
        (SGD, step_with_closure),
        (torch.optim.LBFGS, step_with_closure),
        *((optimizer, update) for optimizer, (update, _) in USES.items()),
    ],
)
def test_optimizers_may_use_or_ignore_the_closure(
    optimizer: type[Any],
    update: Callable[[Optimizer, Closure], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("src.native.build.backend", lambda: "torch: switched off")
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    network = plain_dropout()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    curve = plain(network, optimizer(network.parameters(), lr=0.01), update)
    target = f"{optimizer.__module__}.{optimizer.__qualname__}"
    training, run = trained(DROPPING, {"_target_": target}, tmp_path)
    for name, weight in weights_of(run).items():
        assert torch.equal(weight, network.state_dict()[name])
        assert not torch.equal(weight, before[name])
    for row, theirs in zip(training.classifier.curve, curve, strict=True):
        assert {key: row[key] for key in theirs} == pytest.approx(theirs, rel=1e-6)
