"""Runs beside a training loop in plain torch, which takes only the network and the minibatch order from src."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adagrad, Adam, Optimizer

from src import images
from src.data import minibatches
from src.models import MLP, LeNet
from src.runs.run import Run
from src.runs.settings import Names, Settings
from src.training import Training
from tests.conftest import bars

CONSTANT = {"_target_": "src.schedules.Schedule"}
MODELS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
    "lenet": ({"_target_": "src.models.LeNet"}, LeNet),
    "mlp": ({"_target_": "src.models.MLP", "hidden": [80, 40, 20]}, lambda: MLP([80, 40, 20])),
}
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


def plain(model: nn.Module, optimizer: Optimizer) -> list[dict[str, float]]:
    """Two epochs, and after each the mean losses and accuracies."""
    x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in (*bars(300, 1), *bars(80, 2)))
    mean = (bars(300, 1)[0] / 255).mean().item()
    curve = []
    for epoch in range(EPOCHS):
        loss_sum, correct = 0.0, 0
        for batch in minibatches(SEED, epoch, BATCH, len(y_train)):
            logits = model((x_train[batch].float() / 255 - mean)[:, None])
            loss = cross_entropy(logits, y_train[batch].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(batch)
            correct += int((logits.argmax(1) == y_train[batch]).sum())
        with torch.no_grad():
            logits = model((x_test.float() / 255 - mean)[:, None])
            test_loss = cross_entropy(logits, y_test.long()).item()
        test_accuracy = (logits.argmax(1) == y_test).double().mean().item()
        figures = {"train_loss": loss_sum / 300, "train_accuracy": correct / 300}
        curve.append(figures | {"test_loss": test_loss, "test_accuracy": test_accuracy})
    return curve


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_equals_a_plain_loop_bit_for_bit(model: str, optimizer: str, tmp_path: Path) -> None:
    model_config, new_model = MODELS[model]
    optimizer_config, new_optimizer = OPTIMIZERS[optimizer]
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    expected = new_model()
    expected_curve = plain(expected, new_optimizer(expected.parameters()))

    settings = Settings("mnist", 0, model_config, optimizer_config, CONSTANT, 0.01, BATCH, EPOCHS, SEED)
    training = Training(settings, images.Images(*bars(300, 1), *bars(80, 2)), device="cpu")
    run = Run(tmp_path / "run")
    with run.locked():
        training.train_in(run, Console(quiet=True), Names(model, optimizer, "constant"), list("0123456789"))
    record = run.record()

    weights = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    assert len(weights) == len(expected.state_dict())
    for name, weight in expected.state_dict().items():
        assert torch.equal(weights[f"model.{name}"], weight), name
    for ours, theirs in zip(training.classifier.curve, expected_curve, strict=True):
        assert {key: ours[key] for key in theirs} == pytest.approx(theirs, rel=1e-6)
    assert {key: record["figures"][key] for key in expected_curve[-1]} == pytest.approx(expected_curve[-1], rel=1e-6)
    assert record["figures"]["updates"] == EPOCHS * int(np.ceil(300 / BATCH))
