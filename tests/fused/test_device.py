"""A step stays on its device: tested on the meta device, on which every tensor but a CPU's must be.

Meta tensors have no numbers, so anything that reads one back fails by itself.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.data.images import Images
from src.fused.seed_group import SeedGroup
from src.models import MLP, LeNet
from src.schedules import Schedule
from src.training.classifier import Classifier
from src.training.datamodule import DataModule
from src.training.metrics import EpochMetrics
from tests.helpers.images import bars

META = torch.device("meta")


class Elsewhere(Exception):
    pass


class OnDevice(TorchDispatchMode):
    """Raises Elsewhere if an operator makes a tensor on the CPU, or reads one that is not a number of its own.

    A number as a tensor, such as an lr, may lie on the CPU: it is handed to a kernel like any other argument.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor) and tensor.device != META and tensor.dim():
                raise Elsewhere(f"{func} on {tensor.device}")
        return result


@pytest.fixture
def data() -> DataModule:
    return DataModule(Images(*bars(60, 1), *bars(20, 2)), Schedule(2), 10, 0).to(META)


def classifier(model: str) -> Classifier:
    network = (LeNet() if model == "lenet" else MLP([16, 8])).to(META)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    return Classifier(network, optimizer, Schedule(2), 0.1, 0)


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_a_group_s_step_and_evaluation_stay_on_the_device(model: str, data: DataModule) -> None:
    seed_group = SeedGroup([classifier(model), classifier(model)], data)
    seed_group.begin_epoch(0)
    indices = torch.arange(10, device=META)
    with OnDevice():
        for _ in range(2):
            seed_group.update(indices)
        for split in data.eval_splits:
            seed_group.score(split, indices)


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_a_run_s_step_and_evaluation_stay_on_the_device(model: str, data: DataModule) -> None:
    one = classifier(model)
    metrics = EpochMetrics(META)
    indices = torch.arange(10, device=META)
    with OnDevice():
        for _ in range(2):
            losses, correct = one.train_on(data.splits["train"][[indices]])
            metrics.add_counted(losses.double() * len(indices), correct, len(indices))
        metrics.evaluate(one.model, data.splits["test"][[indices]])


@pytest.mark.parametrize("fault", ["a number is read back", "a tensor is on the CPU", "a tensor is copied to the CPU"])
def test_faults_are_noticed(fault: str, data: DataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    add = EpochMetrics.add

    def broken(self: EpochMetrics, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        if fault == "a number is read back":
            losses.sum().item()
        elif fault == "a tensor is on the CPU":
            losses = losses + torch.zeros(2)
        else:
            losses.to("cpu")
        add(self, losses, logits, labels)

    monkeypatch.setattr(EpochMetrics, "add", broken)
    seed_group = SeedGroup([classifier("mlp"), classifier("mlp")], data)
    seed_group.begin_epoch(0)
    with pytest.raises((RuntimeError, NotImplementedError, Elsewhere)), OnDevice():
        seed_group.update(torch.arange(10, device=META))
