"""Replays, with a recorder of calls in the place of a GPU's graphs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.fused import replay
from src.fused.replay import STEPS, WARM_UP, Replay

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Machine:
    """Counts how each minibatch was trained on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broken: bool = False) -> None:
        self.order: list[int] = []
        self.eager = 0
        self.captures: list[tuple[int, ...]] = []
        self.broken = broken
        monkeypatch.setattr(replay, "capture", self.capture)

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


def epoch(steps: Replay, first: int = 0) -> list[int]:
    """Three blocks of 10 minibatches (2, 5), and one of a smaller one (2, 3)."""
    minibatches = torch.arange(first, first + 31).view(31, 1, 1).expand(31, 2, 5)
    for block in minibatches[:30].split(10):
        steps(block)
    steps(minibatches[30:, :, :3])
    return list(range(first, first + 31))


def test_every_minibatch_is_trained_on_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    steps = Replay(machine.step, CUDA)
    steps.expect([0, 1], [0.1, 0.2])
    expected = [number for _ in range(4) for number in epoch(steps)]
    assert machine.order == expected
    assert machine.eager == 2 * WARM_UP  # of each size
    assert sorted(machine.captures) == [(1, 2, 3), (1, 2, 5), (STEPS, 2, 5)]


def test_another_lr_or_a_run_less_is_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    steps = Replay(machine.step, CUDA)
    for members, lrs, captures in (
        ([0, 1], [0.1, 0.1], 2),
        ([0, 1], [0.1, 0.1], 2),
        ([0, 1], [0.1, 0.05], 4),
        ([0], [0.1, 0.05], 7),
    ):
        steps.expect(members, lrs)
        epoch(steps)
        assert len(machine.captures) == captures
    assert machine.eager == 2 * WARM_UP


def test_where_nothing_can_be_captured_all_is_called_and_the_reason_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(monkeypatch, broken=True)
    steps = Replay(machine.step, CUDA)
    for first in (0, 31):
        steps.expect([0], [0.1])
        epoch(steps, first)
    assert machine.order == list(range(62))
    assert machine.eager == 62
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("no CUDA graph, so each step is launched by itself, slower: operation not permitted when")


def test_a_cpu_captures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    steps = Replay(machine.step, CPU)
    steps.expect([0], [0.1])
    assert epoch(steps) == machine.order
    assert machine.captures == []
