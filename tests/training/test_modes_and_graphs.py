"""Optimizers with modes, with second derivatives, and with several gradients an update, beside plain loops."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from src.config.settings import Settings
from src.errors import UserError
from src.generators import seed_all
from src.inference.trained import load_network
from src.native.build import without_native_code
from src.training.datamodule import epoch_seed, minibatches
from src.training.evaluation import figures_on_test
from src.training.trainer import Training
from tests.helpers import own_networks, own_optimizers
from tests.training.test_own_state import IMAGES, MLP, OWN, Killed, settings, train

CONSTANT = {"_target_": "src.schedules.Schedule"}


def tensors(images: Any, labels: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images).float().div(255).sub(0.5).div(0.5), torch.from_numpy(labels).long()


@pytest.mark.parametrize(("network", "lr"), [("Plain", 0.2), ("Normalised", 0.2)])
def test_what_is_evaluated_and_saved_is_the_average(network: str, lr: float, tmp_path: Path) -> None:
    model_node = {"_target_": f"tests.helpers.own_networks.{network}"}
    wanted = Settings("mine", 0, "half", model_node, {"_target_": OWN + "ScheduleFree"}, CONSTANT, lr, 32, 3, 3)
    run = train(tmp_path, wanted)
    seed_all(3)
    model: nn.Module = getattr(own_networks, network)()
    optimizer = own_optimizers.ScheduleFree(model.parameters(), lr=lr)
    images, labels = tensors(IMAGES.train_images, IMAGES.train_labels)
    for epoch in range(3):
        seed_all(epoch_seed(3, epoch))
        model.train()
        optimizer.train()
        for indices in minibatches(3, epoch, 32, len(labels)):
            optimizer.zero_grad()
            cross_entropy(model(images[indices]), labels[indices]).backward()
            optimizer.step()
        optimizer.eval()
        with torch.no_grad():  # batch statistics of the average, as the authors' README asks
            for indices in minibatches(3, epoch, 32, len(labels)):
                model(images[indices])
    model.eval()
    test_images, test_labels = tensors(IMAGES.test_images, IMAGES.test_labels)
    expected = cross_entropy(model(test_images), test_labels).item()
    assert run.record()["figures"]["test_loss"] == pytest.approx(expected, rel=1e-4)
    weights = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(weights[f"model.{key}"], value, rtol=1e-3, atol=1e-5)
    figures = run.record()["figures"]
    found = figures_on_test(load_network(run.directory, trust=True).network, IMAGES, run.record()["data"])
    assert found == (figures["test_loss"], figures["test_accuracy"])


@pytest.mark.parametrize("name", ["Newton", "NewtonThatSaysSo"])
@pytest.mark.parametrize("model", [MLP, {"_target_": "src.models.LeNet"}], ids=["mlp", "lenet"])
def test_second_derivatives_are_there_for_who_asks(name: str, model: dict[str, Any], tmp_path: Path) -> None:
    wanted = Settings("mine", 0, "half", model, {"_target_": OWN + name}, CONSTANT, 0.5, 32, 2, 3)
    run = train(tmp_path, wanted)
    network = Training(wanted, IMAGES, "cpu").model
    optimizer = getattr(own_optimizers, name)(network.parameters(), lr=0.5)
    images, labels = tensors(IMAGES.train_images, IMAGES.train_labels)
    for epoch in range(2):
        for indices in minibatches(3, epoch, 32, len(labels)):
            optimizer.zero_grad()
            with without_native_code():
                loss = cross_entropy(network(images[indices]), labels[indices])
            gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
    weights = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    for key, value in network.state_dict().items():
        torch.testing.assert_close(weights[f"model.{key}"], value, rtol=1e-3, atol=1e-5)
    figures = run.record()["figures"]
    assert figures["gradients"] == figures["updates"] == 14


class Impossible(own_optimizers.Newton):
    """Asks for a graph, and cannot use it."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            closure()
        raise RuntimeError("create_graph is wanted")


@pytest.mark.parametrize(
    ("name", "an_update"),
    [
        *(("Polyak", 1), ("LineSearch", 2), ("KFAC", 1), ("Accumulating", 1)),
        *(("OwnBackward", 1), ("ForwardTwice", 1)),
    ],
)
def test_steps_that_use_the_loss_its_closure_or_hooks_equal_a_plain_loop(
    name: str, an_update: int, tmp_path: Path
) -> None:
    model_node = {"_target_": "tests.helpers.own_networks.Plain"}
    wanted = Settings("mine", 0, "half", model_node, {"_target_": OWN + name}, CONSTANT, 0.05, 32, 3, 3)
    with without_native_code():
        run = train(tmp_path, wanted)
    seed_all(3)
    model = own_networks.Plain()
    optimizer = getattr(own_optimizers, name)(model if name == "KFAC" else model.parameters(), lr=0.05)
    images, labels = tensors(IMAGES.train_images, IMAGES.train_labels)
    for epoch in range(3):
        for indices in minibatches(3, epoch, 32, len(labels)):

            def closure(some: torch.Tensor = indices) -> torch.Tensor:
                optimizer.zero_grad()
                loss = cross_entropy(model(images[some]), labels[some])
                if name not in ("OwnBackward", "ForwardTwice"):
                    loss.backward()
                return loss

            optimizer.step(closure) if name != "KFAC" else (closure(), optimizer.step())
    weights = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(weights[f"model.{key}"], value, rtol=1e-4, atol=1e-6)
    figures = run.record()["figures"]
    if name == "LineSearch":
        assert figures["gradients"] == figures["updates"] + optimizer.tried >= an_update * figures["updates"]
    else:
        assert figures["gradients"] == an_update * figures["updates"]


class Late(own_optimizers.Base):
    """Asks for a graph at its second step."""

    def begin(self) -> None:
        self.steps = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)
        self.steps += 1
        if self.steps == 2:
            raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")


def test_who_asks_late_is_told_how(tmp_path: Path) -> None:
    wanted = settings(MLP, {"_target_": f"{__name__}.Late"})
    with pytest.raises(UserError, match=r"only after its first step; say so by .*, create_graph = True$"):
        train(tmp_path, wanted)


def test_a_graph_that_does_not_help_is_one_line(tmp_path: Path) -> None:
    wanted = settings(MLP, {"_target_": f"{__name__}.Impossible"})
    with pytest.raises(UserError, match=r"^optimizer: Impossible wants second derivatives \(create_graph is wanted\)"):
        train(tmp_path, wanted)


def test_a_step_that_learns_nothing_is_one_line(tmp_path: Path) -> None:
    wanted = settings(MLP, {"_target_": OWN + "SkipsWithoutGradients"})
    with pytest.raises(UserError, match=r"SkipsWithoutGradients wants second derivatives .*, but cannot use those"):
        train(tmp_path, wanted)


@pytest.mark.parametrize(
    ("optimizer", "an_update"),
    [
        ({"_target_": "torch.optim.Adam"}, 1),
        ({"_target_": OWN + "MomentumInAList"}, 1),
        ({"_target_": OWN + "SAM"}, 2),
        ({"_target_": "torch.optim.LBFGS", "max_iter": 3, "max_eval": 100}, 3),
    ],
)
def test_gradients_are_counted(optimizer: dict[str, Any], an_update: int, tmp_path: Path) -> None:
    wanted = settings(MLP, optimizer)
    with pytest.raises(Killed):
        train(tmp_path, wanted, 2)
    run = train(tmp_path, wanted)
    rows = list(csv.DictReader(io.StringIO(run.curve_file.read_text())))
    assert [float(row["gradients"]) for row in rows] == [7.0 * epoch * an_update for epoch in range(1, 6)]
    assert run.record()["figures"]["gradients"] == 35 * an_update
