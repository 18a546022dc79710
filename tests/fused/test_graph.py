"""A group's steps can be captured: tested on the CPU with a tape of operators that is replayed in place."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from src.fused.train_group import train_group
from src.runs.directory import Run
from tests.helpers import tape
from tests.helpers.groups import Configs, runs_in
from tests.helpers.runs import assert_same


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_replayed_steps_equal_direct_steps(
    model: str, tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two seeds, changing lrs, a smaller last minibatch, a diverging run and a validation set."""
    tape.without_native_code(monkeypatch)
    optimizers = ("optimizer=sgd", "optimizer=adagrad", "optimizer=adam", "optimizer=adamw", "optimizer=sgd lr=1e30")
    each = [[*optimizer.split(), f"seed={seed}"] for optimizer in optimizers for seed in (0, 1)]
    common = [f"model={model}", "epochs=3", "batch_size=24", "schedule=step", "schedule.milestones=[2]"]
    common.append("data.validation=50")
    assert not train_group(configs(tmp_path / "called", common, each)).alone

    played: list[int] = []

    def capture(function: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        replay = tape.capture(function, example)

        def play(argument: Tensor) -> None:
            replay(argument)
            played.append(len(argument))

        return play

    tape.replace_graphs(monkeypatch, capture)
    assert not train_group(configs(tmp_path / "played", common, each)).alone
    assert sum(played) > 20  # of 33 steps
    for run in runs_in(tmp_path / "called"):
        assert Run(tmp_path / "played" / run).record()["verified"]["graph"] == 0.0
        assert_same(tmp_path / "called" / run, tmp_path / "played" / run)
