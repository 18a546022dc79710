"""The logic of captures and replays, with a recorder in place of CUDA graphs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.data.images import Images
from src.fused import cuda_graphs
from src.fused.classifier import GroupClassifier
from src.fused.cuda_graphs import STEPS, WARM_UP, CudaGraphs
from src.fused.seed_group import SeedGroup
from src.models import MLP
from src.schedules import Schedule
from src.training.classifier import Classifier
from src.training.datamodule import DataModule
from tests.helpers.images import bars

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Machine:
    """Records which minibatches ran, and whether directly or replayed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broken: bool = False) -> None:
        self.order: list[int] = []
        self.eager = 0
        self.captures: list[tuple[int, ...]] = []
        self.broken = broken
        monkeypatch.setattr(cuda_graphs, "capture", self.capture)

    def step(self, minibatch: Tensor) -> None:
        self.eager += 1
        self.order.append(int(minibatch[0, 0]))

    def capture(self, function: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        if self.broken:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        self.captures.append(tuple(example.shape))

        def replayed(part: Tensor) -> None:
            assert part.shape == example.shape
            self.order += part[:, 0, 0].tolist()

        return replayed


def epoch(steps: CudaGraphs, first: int = 0) -> list[int]:
    """Run three blocks of 10 minibatches (2, 5) and one of a smaller minibatch (2, 3); return the expected order."""
    minibatches = torch.arange(first, first + 31).view(31, 1, 1).expand(31, 2, 5)
    for block in minibatches[:30].split(10):
        steps(block)
    steps(minibatches[30:, :, :3])
    return list(range(first, first + 31))


def test_every_minibatch_is_trained_on_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    steps = CudaGraphs(machine.step, CUDA, str)
    steps.expect([0, 1], [0.1, 0.2])
    expected = [number for _ in range(4) for number in epoch(steps)]
    assert machine.order == expected
    assert machine.eager == 2 * WARM_UP  # of each size
    assert sorted(machine.captures) == [(1, 2, 3), (1, 2, 5), (STEPS, 2, 5)]


def test_other_lrs_or_members_are_captured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    steps = CudaGraphs(machine.step, CUDA, str)
    for members, lrs, captures in (
        ([0, 1], [0.1, 0.1], 2),
        ([0, 1], [0.1, 0.1], 2),
        ([0, 1], [0.1, 0.05], 4),
        ([0], [0.1, 0.05], 6),
        *[([0], [0.1, 0.05], 6)] * 2,
        *[([0], [0.1, 0.05], 7)] * 2,  # now the smaller last one is captured too
    ):
        steps.expect(members, lrs)
        epoch(steps)
        assert len(machine.captures) == captures
    assert machine.eager == 3 * WARM_UP  # the smaller one, twice


def test_if_a_capture_fails_steps_run_directly_and_the_reason_is_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(monkeypatch, broken=True)
    steps = CudaGraphs(machine.step, CUDA, str)
    for first in (0, 31):
        steps.expect([0], [0.1])
        epoch(steps, first)
    assert machine.order == list(range(62))
    assert machine.eager == 62
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("CUDA graphs are not used, so training is slower: operation not permitted when")


def test_a_cpu_captures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    steps = CudaGraphs(machine.step, CPU, str)
    steps.expect([0], [0.1])
    assert epoch(steps) == machine.order
    assert machine.captures == []


def test_steps_with_a_capture_blocker_run_directly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(monkeypatch)
    steps = CudaGraphs(machine.step, CUDA, lambda: "Adagrad has its step elsewhere")
    steps.expect([0], [0.1])
    assert epoch(steps) == machine.order
    assert machine.captures == []
    assert "slower: Adagrad has its step elsewhere\n" in capsys.readouterr().err


def test_optimizers_with_state_off_the_gpu_are_named() -> None:
    members = [Classifier(net := MLP([8, 8, 8]), torch.optim.Adagrad(net.parameters()), Schedule(1), 0.1, 0)]
    data = DataModule(Images(*bars(20, 1), *bars(10, 2)), Schedule(1), 10, 0)
    group = GroupClassifier([SeedGroup(members, data)])
    assert group._capture_blocker() == "Adagrad does not keep its step on the GPU; fused=true may help"
    members[0].optimizer.state.clear()
    assert group._capture_blocker() == ""


def test_out_of_memory_in_a_capture_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    machine = Machine(monkeypatch)
    monkeypatch.setattr(cuda_graphs, "capture", full)
    with pytest.raises(torch.OutOfMemoryError):
        epoch(CudaGraphs(machine.step, CUDA, str))
