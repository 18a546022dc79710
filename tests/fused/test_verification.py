"""A group's check of itself finds each fault that is put in, and changes nothing where there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.fused import train_group
from src.fused.classifier import GroupClassifier
from src.fused.result import GroupResult
from src.fused.stack import Stack
from src.runs.directory import Run
from tests.helpers import tape
from tests.helpers.groups import Configs, runs_in, train_alone
from tests.helpers.runs import assert_same, state

COMMON = ["model=mlp", "epochs=2", "batch_size=24"]
EACH = [["optimizer=sgd", "lr=0.01"], ["optimizer=adam", "lr=0.001"], ["optimizer=adagrad", "lr=0.01", "seed=1"]]


def verified(output: Path) -> list[dict[str, float | None]]:
    return [Run(output / run).record()["verified"] for run in runs_in(output)]


def test_a_check_changes_no_bit(tmp_path: Path, configs: Configs) -> None:
    for name in ("checked", "unchecked"):
        found = configs(tmp_path / name, COMMON, EACH)
        for config in found:
            config.hydra.launcher.verify = name == "checked"
        assert not train_group.train_group(found).alone
    for run in runs_in(tmp_path / "checked"):
        assert_same(tmp_path / "checked" / run, tmp_path / "unchecked" / run)
        assert "verified" not in Run(tmp_path / "unchecked" / run).record()
    for each in verified(tmp_path / "checked"):
        assert each["stack"] is not None
        assert each["stack"] < 1e-5
        assert each["graph"] is None


# ------------------------------------------------------------------------------------------------ faults of a stack


def not_a_view(patch: pytest.MonkeyPatch) -> None:
    made = Stack.__init__

    def broken(self: Stack, networks: Any) -> None:
        made(self, networks)
        if len(networks) > 1:
            parameter = next(networks[1].parameters())
            parameter.data = parameter.data.clone()

    patch.setattr(Stack, "__init__", broken)


def stale_gradients(patch: pytest.MonkeyPatch) -> None:
    differentiate = Stack.differentiate

    def broken(self: Stack, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        found = differentiate(self, images, labels)
        if len(self.networks) > 1:
            for parameter in self.networks[1].parameters():
                parameter.grad = torch.zeros_like(parameter)
        return found

    patch.setattr(Stack, "differentiate", broken)


def random_operation(patch: pytest.MonkeyPatch) -> None:
    losses = Stack.losses

    def broken(self: Stack, images: Tensor, labels: Tensor, reduction: str = "none") -> tuple[Tensor, Tensor]:
        kept = torch.rand(images.shape) > 0.5 if len(self.networks) > 1 and reduction == "mean" else 1.0
        return losses(self, images * kept, labels, reduction)

    patch.setattr(Stack, "losses", broken)


@pytest.mark.parametrize("fault", [not_a_view, stale_gradients, random_operation])
def test_members_that_a_stack_does_not_reproduce_train_alone(
    fault: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    configs: Configs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The faults are in the stack of seed 0, of two members or one; that of seed 1 is intact."""
    monkeypatch.setattr(train_group, "why_not_vmappable", lambda *_: "")  # as if its check had missed the fault
    fault(monkeypatch)
    found = configs(tmp_path, COMMON, [*EACH, ["optimizer=adam", "lr=0.01", "seed=2"]])
    result = train_group.train_group(found)
    both = fault is random_operation
    assert set(result.alone) == ({0, 1} if both else {1})
    assert "does not reproduce its gradients" in result.alone[1]
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "is trained alone: its group does not reproduce" in line]) == 1 + both
    for config in configs(tmp_path / "alone", COMMON, EACH[2:]):
        train_alone(config)
    (run,) = runs_in(tmp_path / "alone")
    assert Run(tmp_path / run).record()["status"] == "finished"


def test_a_wrong_minibatch_is_noticed(tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    minibatches = "src.fused.datamodule.minibatches"
    monkeypatch.setattr(minibatches, lambda seed, epoch, size, n: list(torch.arange(n).split(size)))
    result = train_group.train_group(configs(tmp_path, COMMON, EACH))
    assert set(result.alone) == {0, 1, 2}


# ------------------------------------------------------------------------------------------------- faults of a graph

Replay = Callable[[Tensor], None]


def parts_of(function: Replay) -> GroupClassifier:
    """The group whose steps a function makes."""
    return function.__self__.step.__self__  # type: ignore[attr-defined]


def stale_buffer(function: Replay, example: Tensor) -> Replay:
    replay, first = tape.capture(function, example), example.clone()
    return lambda _: replay(first.flip(-1).roll(1, 0))


def another_minibatch(function: Replay, example: Tensor) -> Replay:
    replay = tape.capture(function, example)
    return lambda minibatches: replay((minibatches + 1) % 100)


def frozen_lr(function: Replay, example: Tensor) -> Replay:
    optimizers = [member.optimizer for member in parts_of(function).classifiers]
    lrs = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    for optimizer, lr in zip(optimizers, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = 0.9 * lr
    replay = tape.capture(function, example)
    for optimizer, lr in zip(optimizers, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr
    return replay


def uncounted_steps(function: Replay, example: Tensor) -> Replay:
    replay = tape.capture(function, example)
    optimizers = [member.optimizer for member in parts_of(function).classifiers]

    def broken(minibatches: Tensor) -> None:
        steps = [state["step"] for optimizer in optimizers for state in optimizer.state.values() if "step" in state]
        counts = [step.clone() for step in steps]
        replay(minibatches)
        for step, count in zip(steps, counts, strict=True):
            step.copy_(count)

    return broken


def uncounted_python_steps(function: Replay, example: Tensor) -> Replay:
    """The state of an optimizer is a number, which a replay does not change."""
    for member in parts_of(function).classifiers:
        for entry in member.optimizer.state.values():
            entry.setdefault("calls", 0)

    def counted(minibatches: Tensor) -> None:
        function(minibatches)
        for member in parts_of(function).classifiers:
            for entry in member.optimizer.state.values():
                entry["calls"] += 1

    parts_of(function).steps._call = counted  # type: ignore[method-assign,assignment]
    return tape.capture(function, example)


def random_updates(function: Replay, example: Tensor) -> Replay:
    replay = tape.capture(function, example)

    def broken(minibatches: Tensor) -> None:
        replay(minibatches)
        for member in parts_of(function).classifiers:
            for parameter in member.model.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=1e-3)

    return broken


def lost_update(function: Replay, example: Tensor) -> Replay:
    """The replay updates memory that no parameter is a view of any more."""
    return lambda _: None


@pytest.mark.parametrize(
    "fault",
    [
        stale_buffer, another_minibatch, frozen_lr, uncounted_steps, uncounted_python_steps, random_updates,
        lost_update,
    ],
)  # fmt: skip
def test_a_graph_that_differs_is_not_used(
    fault: Callable[[Replay, Tensor], Replay],
    tmp_path: Path,
    configs: Configs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tape.without_native_code(monkeypatch)
    assert not train_group.train_group(configs(tmp_path / "called", COMMON, EACH)).alone

    tape.replace_graphs(monkeypatch, fault)
    assert not train_group.train_group(configs(tmp_path / "checked", COMMON, EACH)).alone
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "CUDA graphs" in line]
    assert line.startswith("CUDA graphs are not used, so training is slower: replayed updates differ from those")
    for run, found in zip(runs_in(tmp_path / "checked"), verified(tmp_path / "checked"), strict=True):
        assert found["graph"] is None or found["graph"] > 0.01  # None: the difference is infinite
        if fault is uncounted_python_steps:  # whose checkpoint holds the number
            assert state(tmp_path / "called" / run)[:2] == state(tmp_path / "checked" / run)[:2]
        else:
            assert_same(tmp_path / "called" / run, tmp_path / "checked" / run)


def test_a_replay_that_fails_half_way_is_undone(
    tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tape.without_native_code(monkeypatch)
    assert not train_group.train_group(configs(tmp_path / "called", COMMON, EACH)).alone

    def failing(function: Replay, example: Tensor) -> Replay:
        replay = tape.capture(function, example)

        def broken(minibatches: Tensor) -> None:
            replay(minibatches)
            raise RuntimeError("launch failed")

        return broken

    tape.replace_graphs(monkeypatch, failing)
    assert not train_group.train_group(configs(tmp_path / "checked", COMMON, EACH)).alone
    assert "CUDA graphs are not used, so training is slower: launch failed" in capsys.readouterr().err
    for run in runs_in(tmp_path / "called"):
        assert_same(tmp_path / "called" / run, tmp_path / "checked" / run)


def test_an_intact_graph_is_used(tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    tape.without_native_code(monkeypatch)

    tape.replace_graphs(monkeypatch)
    result = train_group.train_group(configs(tmp_path, COMMON, EACH))
    assert result == GroupResult(begun={0, 1, 2})
    assert {each["graph"] for each in verified(tmp_path)} == {0.0}
