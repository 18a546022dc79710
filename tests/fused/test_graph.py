"""A group's steps can be captured: tested on the CPU with a tape of operators that is replayed in place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.fused import cuda_graphs
from src.fused.classifier import GroupClassifier
from src.fused.cuda_graphs import CudaGraphs
from src.fused.train_group import train_group
from tests.helpers.groups import Configs, runs_in
from tests.helpers.runs import assert_same

CUDA = torch.device("cuda")


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Records every operator below autograd and vmap, with the tensors that it read and wrote.

    Like a CUDA graph, it replays no Python, allocates once and forbids reading numbers back. Unlike in a capture, the
    operators run while they are recorded, so `put_back` restores the tensors that existed before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.own: set[int] = set()
        self.before: dict[int, tuple[Tensor, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("a number is read back while the stream is capturing")
        inputs = tensors((args, kwargs))
        if any(argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments):
            for tensor in inputs:
                if storage(tensor) not in self.own:
                    self.before.setdefault(storage(tensor), (tensor, tensor.untyped_storage().clone()))
        result = func(*args, **kwargs)
        made = [out for out in tensors(result) if storage(out) not in {storage(tensor) for tensor in inputs}]
        self.own |= {storage(tensor) for tensor in made}
        self.operators.append((func, args, kwargs, tensors(result)))
        return result

    def put_back(self) -> None:
        for tensor, content in self.before.values():
            tensor.untyped_storage().copy_(content)

    def play(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, results in self.operators:
                for result, again in zip(results, tensors(func(*args, **kwargs)), strict=True):
                    if storage(result) != storage(again):
                        result.copy_(again)


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_replayed_steps_equal_direct_steps(
    model: str, tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two seeds, changing lrs, a smaller last minibatch, a diverging run and a validation set."""
    # As on a GPU, the operators are torch's: the tape does not see what native code writes.
    for user in ("gather", "build"):
        monkeypatch.setattr(f"src.native.{user}.backend", lambda: "torch: switched off")
    optimizers = ("optimizer=sgd", "optimizer=adagrad", "optimizer=adam", "optimizer=adamw", "optimizer=sgd lr=1e30")
    each = [[*optimizer.split(), f"seed={seed}"] for optimizer in optimizers for seed in (0, 1)]
    common = [f"model={model}", "epochs=4", "batch_size=24", "schedule=step", "schedule.milestones=[2]"]
    common.append("data.validation=50")
    assert not train_group(configs(tmp_path / "called", common, each)).alone

    played: list[int] = []

    def capture(function: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        static, tape = example.clone(), Tape()
        with tape:
            function(static)
        tape.put_back()

        def play(argument: Tensor) -> None:
            static.copy_(argument)
            tape.play()
            played.append(len(argument))

        return play

    def on_fit_start(self: GroupClassifier) -> None:
        self.steps = CudaGraphs(self._step, CUDA, str)

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    monkeypatch.setattr(GroupClassifier, "on_fit_start", on_fit_start)
    assert not train_group(configs(tmp_path / "played", common, each)).alone
    assert sum(played) > 30  # of 44 steps
    for run in runs_in(tmp_path / "called"):
        assert_same(tmp_path / "called" / run, tmp_path / "played" / run)
