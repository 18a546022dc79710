"""A stand-in for CUDA graphs on the CPU: a tape of operators that is replayed in place."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.fused import cuda_graphs
from src.fused.classifier import GroupClassifier
from src.fused.cuda_graphs import CudaGraphs


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


def capture(function: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
    """Like `cuda_graphs.capture`."""
    static, tape = example.clone(), Tape()
    with tape:
        function(static)
    tape.put_back()

    def replay(argument: Tensor) -> None:
        static.copy_(argument)
        tape.play()

    return replay


def without_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use torch's operators, as on a GPU: the tape does not see what native code writes."""
    monkeypatch.setattr("src.native.build.backend", lambda: "torch: switched off")


def replace_graphs(
    monkeypatch: pytest.MonkeyPatch,
    captured: Callable[[Callable[[Tensor], None], Tensor], Callable[[Tensor], None]] = capture,
) -> None:
    """Let groups on the CPU capture their steps, by this function."""

    def on_fit_start(self: GroupClassifier) -> None:
        self.steps = CudaGraphs(self._step, torch.device("cuda"), str, self._check)

    monkeypatch.setattr(GroupClassifier, "on_fit_start", on_fit_start)
    monkeypatch.setattr(cuda_graphs, "capture", captured)
