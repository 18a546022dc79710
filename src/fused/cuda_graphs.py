"""Training steps captured in CUDA graphs."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from src.errors import flat
from src.fused.compatibility import out_of_memory

STEPS = 8  # per replay: they share one launch, but the capture, needed for each new lr, takes as long as they do
WARM_UP = 3  # uncaptured steps of each batch size, in which libraries and optimizers initialise their state


Steps = Callable[[Tensor], None]
Check = Callable[[Steps, Steps, Tensor], str]


class CudaGraphs:
    """Runs `step` on each minibatch of a block: first directly, then by replaying captured CUDA graphs.

    The warm-up steps are part of the training, so no state has to be restored. On a CPU, or if a capture fails or
    `capture_blocker` returns a reason against it, every step runs directly. `check` is called with the direct steps, a
    new replay and minibatches; it trains on them, and returns a reason against replays or an empty string.
    """

    def __init__(
        self,
        step: Callable[[Tensor], None],
        device: torch.device,
        capture_blocker: Callable[[], str],
        check: Check | None = None,
    ) -> None:
        self.step, self.capture_blocker, self.check = step, capture_blocker, check or _trusted
        self.capturing = device.type == "cuda"
        self._expected: object = None
        self._steps: Counter[torch.Size] = Counter()
        self._expected_steps: Counter[torch.Size] = Counter()  # counted since `expect` last saw a change
        self._graphs: dict[torch.Size, Callable[[Tensor], None]] = {}

    def expect(self, members: Sequence[int], scheduled: Sequence[Any]) -> None:
        """Discard the graphs if the members or what is scheduled have changed, since a capture fixes both."""
        if (expected := (tuple(members), tuple(scheduled))) != self._expected:
            self._expected = expected
            self._graphs.clear()
            self._expected_steps.clear()

    def __call__(self, block: Tensor) -> None:
        """Run the steps of a block (K, ...) of K minibatches."""
        while len(block):
            size = block.shape[1:]
            warm = self._steps[size] >= WARM_UP
            some = STEPS if warm and len(block) >= STEPS else 1
            part, block = block[:some], block[some:]
            # A graph of one step, such as an epoch's last, smaller one, pays off only if it is replayed often.
            worth_it = some == STEPS or self._expected_steps[size] >= WARM_UP
            if not (warm and worth_it and self._replay(part)):
                self._call(part)
            self._steps[size] += some
            self._expected_steps[size] += some

    def _call(self, part: Tensor) -> None:
        for minibatch in part:
            self.step(minibatch)

    def _replay(self, part: Tensor) -> bool:
        """Train on the minibatches by a graph, captured now if need be; return False if that is impossible."""
        if not self.capturing:
            return False
        if graph := self._graphs.get(part.shape):
            graph(part)
            return True
        trained, reason = False, self.capture_blocker()
        try:
            if not reason:
                graph = self._graphs[part.shape] = capture(self._call, part)
                trained, reason = True, self.check(self._call, graph, part)
        except RuntimeError as error:
            if out_of_memory(error):  # `train_group` then halves the group
                raise
            reason = flat(error)
        if reason:
            self.capturing = False
            self._graphs.clear()
            print(f"CUDA graphs are not used, so training is slower: {reason}", file=sys.stderr)
        return trained


def _trusted(direct: Steps, replay: Steps, minibatches: Tensor) -> str:
    replay(minibatches)
    return ""


def capture(function: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
    """Capture `function` on tensors of the example's shape in a CUDA graph, without running it; return the replay."""
    static, graph = example.clone(), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        function(static)

    def replay(argument: Tensor) -> None:
        static.copy_(argument)
        graph.replay()

    return replay
