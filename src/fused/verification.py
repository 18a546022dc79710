"""Checks that a group computes what its runs would compute alone, made on its own weights before it trains on.

The stack's first losses and gradients are compared with those of each network by itself, and each captured graph with
the same steps called one by one. Differences are relative Euclidean norms: rounding changes few elements by much.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.fused.seed_group import SeedGroup
from src.training.classifier import Classifier
from src.training.datamodule import minibatches
from src.training.metrics import EpochMetrics

TOLERANCE = 0.01  # of a gradient, or of an update; TF32 on a GPU gives 1e-3, float32 on a CPU 1e-6


class NotReproduced(Exception):
    """A stack gives other gradients than the networks of these members, by their numbers in the group."""

    def __init__(self, differences: Mapping[int, float]) -> None:
        super().__init__(f"members {sorted(differences)}")
        self.differences = differences


@dataclass
class Verification:
    """The largest differences found: of each member's gradients, and of the updates of captured graphs."""

    stack: list[float] = field(default_factory=list)
    graph: float | None = None

    def record(self, member: int) -> dict[str, float | None]:
        """Return what run.json says of a member; infinite differences are None."""
        found = {"stack": self.stack[member] if self.stack else None, "graph": self.graph}
        return {key: value if value is not None and math.isfinite(value) else None for key, value in found.items()}


def stack_differences(seed_group: SeedGroup, indices: Tensor, epoch: int) -> list[float]:
    """Return how far each member's loss and gradients on a minibatch are from those of its network by itself.

    `indices` (B,) are those that the group is about to train on; the network gets the minibatch that its run alone
    would train on. No state is changed.
    """
    data = seed_group.data
    train = data.splits["train"]
    order = minibatches(data.seed, epoch, data.batch_size_in(epoch), len(train))
    images, labels = next(iter(next(iter(train.loader(order[:1])))))
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        losses, _ = seed_group.stack.differentiate(*train.minibatch(indices))
        found = []
        for member, loss in zip(seed_group.members, losses, strict=True):
            learning = [parameter for parameter in member.model.parameters() if parameter.requires_grad]
            alone = cross_entropy(member.model(images), labels)
            gradients = torch.autograd.grad(alone, learning, allow_unused=True)
            pairs = [(loss, alone.detach()), *((part.grad, own) for part, own in zip(learning, gradients, strict=True))]
            found.append(max(_relative(one, other) for one, other in pairs))
            for parameter in learning:
                parameter.grad = None
    views = seed_group.stack.are_views()
    return [difference if is_view else math.inf for difference, is_view in zip(found, views, strict=True)]


class GroupState:
    """All that the steps of a group change: parameters, the states of optimizers, and metrics."""

    def __init__(self, members: Sequence[Classifier], metrics: Sequence[EpochMetrics]) -> None:
        self.members, self.metrics = members, metrics

    def tensors(self) -> list[Tensor]:
        """Return the tensors themselves, in a fixed order; the parameters are views of the stacks."""
        found = [parameter.detach() for member in self.members for parameter in member.model.parameters()]
        for metrics in self.metrics:
            found += [metrics.loss, metrics.correct, metrics.images]
        for states in self._optimizer_states():
            found += [value for value in states.values() if isinstance(value, Tensor)]
        return found

    def numbers(self) -> list[object]:
        """Return the optimizers' states that are no tensors, which a graph could not change."""
        return [
            value for states in self._optimizer_states() for value in states.values() if not isinstance(value, Tensor)
        ]

    def _optimizer_states(self) -> list[dict[str, object]]:
        return [states for member in self.members for states in member.optimizer.state.values()]

    def copy(self) -> "StateCopy":
        """Return a copy of the state."""
        return StateCopy([tensor.clone() for tensor in self.tensors()], copy.deepcopy(self.numbers()))

    def restore(self, state: "StateCopy") -> None:
        """Set the state in place."""
        for tensor, content in zip(self.tensors(), state.tensors, strict=True):
            tensor.copy_(content)
        numbers = iter(state.numbers)
        for states in self._optimizer_states():
            for key, value in states.items():
                if not isinstance(value, Tensor):
                    states[key] = next(numbers)


@dataclass(frozen=True)
class StateCopy:
    """A copy of a group's state."""

    tensors: list[Tensor]
    numbers: list[object]


def graph_difference(
    state: GroupState, direct: Callable[[Tensor], None], replay: Callable[[Tensor], None], minibatches: Tensor
) -> float:
    """Train on minibatches twice from one state, directly and by a replay; return how far the replay is off.

    The difference is relative to the update. Afterwards the state is that of the replay or, if that is off by more than
    the tolerance, that of the direct steps.
    """
    before = state.copy()
    direct(minibatches)
    expected = state.copy()
    state.restore(before)
    try:
        replay(minibatches)
    except BaseException:
        state.restore(before)  # the minibatches are then trained on directly, once
        raise
    replayed = state.copy()
    pairs = zip(before.tensors, expected.tensors, replayed.tensors, strict=True)
    difference = max((_relative(new, wanted, old) for old, wanted, new in pairs), default=0.0)
    if expected.numbers != replayed.numbers:
        difference = math.inf
    if not difference <= TOLERANCE:
        state.restore(expected)
    return difference


def _relative(found: Tensor | None, expected: Tensor | None, origin: Tensor | None = None) -> float:
    """Return the norm of found - expected by that of expected - origin; equal elements, NaN too, do not differ."""
    if found is None or expected is None:
        return 0.0 if found is expected else math.inf
    one, other = found.detach().double(), expected.detach().double()
    same = (one == other) | (one.isnan() & other.isnan())
    error = torch.where(same, 0.0, one - other).norm()
    size = torch.where(same & ~other.isfinite(), 0.0, other if origin is None else other - origin.double()).norm()
    if not error:
        return 0.0
    ratio = float(error / size)
    return ratio if math.isfinite(ratio) else math.inf
