"""Steps that a GPU repeats by itself: CUDA graphs."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from src.errors import flat
from src.fused.compatibility import out_of_memory

STEPS = 8  # a replay: its launch is spread over them, and a new capture, which a new lr needs, takes as long as they do
WARM_UP = 3  # steps of a size before its capture, by which libraries and optimizers have set up what they need


class CudaGraphs:
    """Calls `step` on each minibatch of a block: the first times as it is, then by replaying what it launched.

    The warm-up are steps of the training itself, so there is no state to restore. On a CPU, and where a capture
    fails or `hindrance` says why there can be none, every step is called as it is.
    """

    def __init__(self, step: Callable[[Tensor], None], device: torch.device, hindrance: Callable[[], str]) -> None:
        self.step, self.hindrance = step, hindrance
        self.capturing = device.type == "cuda"
        self._expected: object = None
        self._steps: Counter[torch.Size] = Counter()
        self._expected_steps: Counter[torch.Size] = Counter()  # since steps have been of what is expected
        self._graphs: dict[torch.Size, Callable[[Tensor], None]] = {}

    def expect(self, members: Sequence[int], lrs: Sequence[float]) -> None:
        """What steps will be of; numbers that a capture has made part of it are captured anew if they are others."""
        if (expected := (tuple(members), tuple(lrs))) != self._expected:
            self._expected = expected
            self._graphs.clear()
            self._expected_steps.clear()

    def __call__(self, block: Tensor) -> None:
        """Steps on a block (K, ...) of K minibatches."""
        while len(block):
            size = block.shape[1:]
            warm = self._steps[size] >= WARM_UP
            some = STEPS if warm and len(block) >= STEPS else 1
            part, block = block[:some], block[some:]
            # A graph of one step, such as an epoch's last and smaller one, pays only if it is often met again.
            worth_it = some == STEPS or self._expected_steps[size] >= WARM_UP
            if graph := warm and worth_it and self._graph(part):
                graph(part)
            else:
                self._call(part)
            self._steps[size] += some
            self._expected_steps[size] += some

    def _call(self, part: Tensor) -> None:
        for minibatch in part:
            self.step(minibatch)

    def _graph(self, like: Tensor) -> Callable[[Tensor], None] | None:
        """What replays the steps on minibatches of this shape; None where they cannot be captured."""
        if self.capturing and like.shape not in self._graphs:
            reason = self.hindrance()
            try:
                if not reason:
                    self._graphs[like.shape] = capture(self._call, like)
            except RuntimeError as error:
                if out_of_memory(error):  # a smaller group will do
                    raise
                reason = flat(error)
            if reason:
                self.capturing = False
                print(f"no CUDA graph, so each step is launched by itself, slower: {reason}", file=sys.stderr)
        return self._graphs.get(like.shape) if self.capturing else None


def capture(function: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
    """`function` for tensors of the example's shape, as a CUDA graph. It is not called on the example."""
    static, graph = example.clone(), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        function(static)

    def replay(argument: Tensor) -> None:
        static.copy_(argument)
        graph.replay()

    return replay
