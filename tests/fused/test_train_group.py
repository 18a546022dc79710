"""Groups with diverging, interrupted and incompatible runs, and on a full device."""

import random
import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from src.fused.classifier import GroupClassifier
from src.fused.result import GroupResult
from src.fused.train_group import train_group
from src.models import MLP
from src.runs.directory import Run
from src.training.classifier import Classifier
from tests.helpers.groups import Configs, assert_near, runs_in, train_alone
from tests.helpers.runs import assert_same, curve

FOUR = [[f"lr={lr}", f"seed={seed}"] for seed in (0, 1) for lr in (0.01, 0.001)]
SMALL = ["model=mlp", "epochs=3"]


class Cut(Exception):
    pass


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that makes groups raise Cut before the block of this number."""
    step = GroupClassifier.training_step

    def at(number: int) -> None:
        blocks = iter(range(10**9))

        def cut_step(self: GroupClassifier, *arguments: Any) -> None:
            if next(blocks) == number:
                raise Cut
            step(self, *arguments)

        monkeypatch.setattr(GroupClassifier, "training_step", cut_step)

    return at


def by_lr(output: Path) -> dict[tuple[float, int], Run]:
    runs = [Run(output / path) for path in runs_in(output)]
    return {(run.record()["settings"]["lr"], run.record()["settings"]["seed"]): run for run in runs}


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_a_diverging_run_does_not_affect_the_others(model: str, tmp_path: Path, configs: Configs) -> None:
    for name, other in (("calm", "0.02"), ("wild", "1e30")):
        each = [["optimizer=sgd", f"lr={one}", f"seed={seed}"] for seed in (0, 1) for one in ("0.01", other, "0.005")]
        assert not train_group(configs(tmp_path / name, [f"model={model}", "epochs=3"], each)).alone
    calm, wild = by_lr(tmp_path / "calm"), by_lr(tmp_path / "wild")
    for seed in (0, 1):
        for lr in (0.01, 0.005):
            assert wild[lr, seed].record()["status"] == "finished"
            assert_same(calm[lr, seed].directory, wild[lr, seed].directory)
        gone = wild[1e30, seed]
        assert gone.record()["status"] == "diverged"
        assert len(curve(gone.directory)) == 1  # it ends where it would alone
        assert len(torch.load(gone.checkpoint, weights_only=True)["curve"]) == 1


def test_interrupted_anywhere(
    tmp_path: Path, configs: Configs, cut: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.training.datamodule.BLOCK", 100)  # five blocks in an epoch of 300 images
    common = ["model=lenet", "epochs=4", "schedule=cosine"]
    optimizers = "sgd", "adam", "adagrad", "nadam"
    mixed = [[f"optimizer={optimizer}", *one] for optimizer, one in zip(optimizers, FOUR, strict=True)]
    assert train_group(configs(tmp_path / "whole", common, mixed)) == GroupResult(begun={0, 1, 2, 3})
    for number in (3, 7, 6):  # in the first epoch, which is lost; in the second; two epochs later
        cut(number)
        result = train_group(configs(tmp_path / "cut", common, mixed))
        assert result.alone.keys() == {0, 1, 2, 3}
        assert all(reason.startswith("its group failed: Cut") for reason in result.alone.values())
        assert {run.record()["status"] for run in by_lr(tmp_path / "cut").values()} == {"interrupted"}
    cut(10**9)
    assert not train_group(configs(tmp_path / "cut", common, mixed)).alone
    for run in runs_in(tmp_path / "whole"):
        assert_same(tmp_path / "whole" / run, tmp_path / "cut" / run)
        assert len(Run(tmp_path / "cut" / run).record()["sessions"]) == 3  # the first wrote no checkpoint


def cut_in_the_second_epoch(self: Classifier, *arguments: Any, step: Any = Classifier.training_step) -> None:
    if self.current_epoch == 1:
        raise Cut
    step(self, *arguments)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "nadam"])
def test_runs_resume_from_a_groups_checkpoints_and_groups_from_runs_checkpoints(
    optimizer: str, tmp_path: Path, configs: Configs, cut: Callable[[int], None]
) -> None:
    common = [*SMALL, f"optimizer={optimizer}"]
    for config in configs(tmp_path / "alone", common, FOUR):
        train_alone(config)
    cut(1)  # an epoch is one block here
    train_group(configs(tmp_path / "group first", common, FOUR))
    assert {len(run.read()[1]) for run in by_lr(tmp_path / "group first").values()} == {1}
    shutil.copytree(tmp_path / "group first", tmp_path / "group throughout")
    for config in configs(tmp_path / "group first", common, FOUR):
        train_alone(config)
    cut(10**9)
    assert not train_group(configs(tmp_path / "group throughout", common, FOUR)).alone
    for config in configs(tmp_path / "alone first", common, FOUR):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Classifier, "training_step", cut_in_the_second_epoch)
            with pytest.raises(Cut):
                train_alone(config)
    assert not train_group(configs(tmp_path / "alone first", common, FOUR)).alone
    for run in runs_in(tmp_path / "alone"):
        for way in ("group first", "group throughout", "alone first"):
            assert_near(tmp_path / "alone" / run, tmp_path / way / run)
        assert Run(tmp_path / "group first" / run).record()["fused"] is True  # one of its sessions was


def test_runs_at_different_epochs_are_not_grouped(tmp_path: Path, configs: Configs, cut: Callable[[int], None]) -> None:
    cut(1)
    train_group(configs(tmp_path, SMALL, FOUR[:2]))
    cut(10**9)
    result = train_group(configs(tmp_path, SMALL, FOUR[1:]))  # two at the start, one after its first epoch
    assert result.alone == {0: "no other run was at the same epoch with the same batch sizes"}
    assert [run.record()["status"] for run in by_lr(tmp_path).values()].count("finished") == 2


def test_a_group_never_overwrites_a_members_progress(
    tmp_path: Path, configs: Configs, cut: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members' checkpoints must not be overwritten, however the group was formed."""
    cut(1)
    train_group(configs(tmp_path, SMALL, FOUR[:2]))
    by_lr(tmp_path)[0.01, 0].checkpoint.unlink()  # the first of the group
    cut(10**9)
    monkeypatch.setattr("src.fused.member.Member.epochs_done", lambda _: 0)
    assert train_group(configs(tmp_path, SMALL, FOUR[:2])).alone.keys() == {0, 1}
    assert [row["epoch"] for row in by_lr(tmp_path)[0.001, 0].read()[1]] == [1]


def test_diverged_runs_do_not_keep_others_from_resuming(
    tmp_path: Path, configs: Configs, cut: Callable[[int], None]
) -> None:
    each = [["optimizer=sgd", f"lr={lr}", f"seed={seed}"] for seed in (0, 1) for lr in ("0.01", "1e30", "0.02")]
    assert not train_group(configs(tmp_path / "whole", SMALL, each)).alone
    cut(2)
    train_group(configs(tmp_path / "cut", SMALL, each))
    cut(10**9)
    resumed = train_group(configs(tmp_path / "cut", SMALL, each))
    assert resumed.alone == dict.fromkeys((1, 4), "its training had already ended")
    for config in configs(tmp_path / "cut", SMALL, each)[1::3]:
        train_alone(config)
    for run in runs_in(tmp_path / "whole"):
        assert_same(tmp_path / "whole" / run, tmp_path / "cut" / run)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that makes groups of more than `room` runs run out of memory in an epoch, counted from 0."""
    step = GroupClassifier.training_step

    def to(room: int, epoch: int) -> None:
        def full(self: GroupClassifier, *arguments: Any) -> None:
            if len(self.members) > room and self.current_epoch == epoch:
                raise RuntimeError("CUDA error: out of memory")
            step(self, *arguments)

        monkeypatch.setattr(GroupClassifier, "training_step", full)

    return to


def test_a_group_is_split_to_fit_into_memory(
    tmp_path: Path, configs: Configs, limit: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not train_group(configs(tmp_path / "whole", SMALL, FOUR)).alone
    limit(2, 1)
    step, alive, most = GroupClassifier.training_step, weakref.WeakSet[GroupClassifier](), [0]

    def counted(self: GroupClassifier, *arguments: Any) -> None:
        alive.add(self)
        most[0] = max(most[0], len(alive))
        step(self, *arguments)

    monkeypatch.setattr(GroupClassifier, "training_step", counted)
    result = train_group(configs(tmp_path / "cut", SMALL, FOUR))
    assert not result.failed
    assert not result.alone
    assert {run.record()["sessions"][-1]["group_size"] for run in by_lr(tmp_path / "cut").values()} == {2}
    assert most == [1]  # a group's memory is freed before the next
    for run in runs_in(tmp_path / "whole"):
        assert_same(tmp_path / "whole" / run, tmp_path / "cut" / run)
    limit(1, 1)
    both = train_group(configs(tmp_path / "of one seed", SMALL, FOUR[:2]))
    assert both.alone.keys() == {0, 1}
    assert both.alone[0] == "its group failed: not enough memory"


OVER, FULL = "its training had already ended", "its group failed: not enough memory"
NO_OTHER = "no other run was at the same epoch with the same batch sizes"


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("lrs", "seeds", "room", "alone"),
    [
        (("1e30", "0.01", "0.02", "0.03"), (0,), 3, {0: OVER}),  # the remaining runs fit
        (("1e30", "0.01", "0.02", "0.03"), (0,), 2, {0: OVER, 1: FULL, 2: FULL, 3: FULL}),
        (("1e30", "0.01", "1e29", "1e28"), (0,), 3, {0: OVER, 1: NO_OTHER, 2: OVER, 3: OVER}),
        (("1e30", "0.01", "0.02", "0.03"), (0, 1), 3, {0: OVER, 4: OVER}),  # the first run of each seed has diverged
        (("1e30", "0.01", "0.02", "0.03", "0.04"), (0, 1), 3, {0: OVER, 5: OVER}),  # halves are halved
    ],
)
def test_a_split_group_is_grouped_by_epoch_again(
    lrs: Sequence[str],
    seeds: Sequence[int],
    room: int,
    alone: dict[int, str],
    tmp_path: Path,
    configs: Configs,
    limit: Callable[[int, int], None],
) -> None:
    common = ["model=mlp", "optimizer=sgd", "epochs=5"]
    each = [[f"lr={lr}", f"seed={seed}"] for seed in seeds for lr in lrs]
    assert not train_group(configs(tmp_path / "whole", common, each)).alone
    limit(room, 2)  # two epochs after the first runs diverged
    jobs = configs(tmp_path / "cut", common, each)
    assert train_group(jobs).alone == alone
    reasons = {train_alone(jobs[number]).directory: reason for number, reason in alone.items()}
    for run in runs_in(tmp_path / "whole"):
        went_on_alone = reasons.get(tmp_path / "cut" / run, OVER) != OVER
        compare = assert_near if went_on_alone else assert_same
        compare(tmp_path / "whole" / run, tmp_path / "cut" / run)


def test_a_group_that_runs_out_of_memory_at_the_end_is_not_retrained(
    tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    assert not train_group(configs(tmp_path / "whole", SMALL, FOUR)).alone
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("src.fused.train_group.initial_loss", full)
        assert train_group(configs(tmp_path / "cut", SMALL, FOUR)).alone == dict.fromkeys(range(4), OVER)
    for config in configs(tmp_path / "cut", SMALL, FOUR):
        train_alone(config)
    for run in runs_in(tmp_path / "whole"):
        assert_same(tmp_path / "whole" / run, tmp_path / "cut" / run)


class Statistics(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))


class Dropping(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Dropout(0.3), nn.Linear(784, 10))


class Branching(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if logits.sum() > 0 else -logits


class Hiding(nn.Sequential):
    """A network with its own random scale, which is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.scale = torch.rand(())

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * self.scale


class Fading(nn.Sequential):
    """A network with a number that changes with each call; a CUDA graph would keep it constant."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.scale = 1.0

    def forward(self, images: Tensor) -> Tensor:
        self.scale *= 0.99
        return super().forward(images) * self.scale


class Skipping(nn.Sequential):
    """A network that drops its layer at random, with Python's generator."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (random.random() < 0.9)


class Frozen(MLP):
    """A network with a frozen layer and an unused one."""

    def __init__(self) -> None:
        super().__init__([16, 8, 8])
        self.linear1.requires_grad_(False)
        self.unused = nn.Linear(3, 3)


class Own(torch.optim.SGD):
    """A user-defined optimizer."""


def with_(config: DictConfig, group: str, target: str) -> DictConfig:
    config = config.copy()
    config[group] = {"_target_": target if "." in target else f"tests.fused.test_train_group.{target}"}
    return config


@pytest.mark.parametrize(
    ("group", "target", "reason"),
    [
        ("model", "Statistics", "the network has buffers, such as batch statistics"),
        ("model", "Dropping", "the network draws random numbers, as dropout does"),
        ("model", "Branching", "the network's control flow depends on the values of a tensor"),
        ("model", "Fading", "the network changes its state in a forward pass"),
        ("model", "Skipping", "the network changes its state in a forward pass"),
        ("model", "Hiding", "torch.func.vmap does not reproduce the network (Tensor-likes are not close!"),
        ("optimizer", "Own", "Own is not one of torch.optim's optimizers"),
        (
            "optimizer",
            "torch.optim.LBFGS",
            "LBFGS evaluates the network more than once an update",
        ),
    ],
)
def test_incompatible_runs_are_left_to_be_trained_alone(
    group: str, target: str, reason: str, tmp_path: Path, configs: Configs
) -> None:
    one, other, third = configs(tmp_path, ["epochs=1", "lr=0.01", "model=mlp"], [["seed=0"], ["seed=1"], ["seed=2"]])
    result = train_group([with_(one, group, target), with_(other, group, target)])
    assert result.alone.keys() == {0, 1}
    for text in result.alone.values():
        assert text.startswith(reason)
        assert "\n" not in text
        assert len(text) < 200
    assert not result.begun
    assert runs_in(tmp_path) == []
    if group == "optimizer":  # compatible runs are trained without it
        assert train_group([one, with_(other, group, target), third]).alone.keys() == {1}
        assert len(runs_in(tmp_path)) == 2


def test_probed_runs_are_left_to_be_trained_alone(tmp_path: Path, configs: Configs) -> None:
    result = train_group(configs(tmp_path, [*SMALL, "probe=true"], [["seed=0"], ["seed=1"]]))
    assert result.alone == dict.fromkeys((0, 1), "probe measures one run at a time")
    assert runs_in(tmp_path) == []


@pytest.mark.usefixtures("double")
def test_frozen_and_unused_parameters(tmp_path: Path, configs: Configs) -> None:
    common = ["model=mlp", "optimizer=adamw", "epochs=2"]
    each = [with_(config, "model", "Frozen") for config in configs(tmp_path / "group", common, FOUR)]
    assert not train_group(each).alone
    for config in configs(tmp_path / "alone", common, FOUR):
        train_alone(with_(config, "model", "Frozen"))
    for run in runs_in(tmp_path / "alone"):
        assert_near(tmp_path / "alone" / run, tmp_path / "group" / run)


def test_a_run_with_wrong_arguments_fails_alone(tmp_path: Path, configs: Configs) -> None:
    each = [["optimizer=adam", f"optimizer.betas=[0.9,{beta}]"] for beta in (0.999, 2.0, 0.99)]
    result = train_group(configs(tmp_path, SMALL, each))
    assert result.failed.keys() == {1}
    assert "betas" in result.failed[1]
    assert [Run(tmp_path / path).record()["status"] for path in runs_in(tmp_path)] == ["finished"] * 2
    assert len(list((tmp_path / "mnist" / "mlp").iterdir())) == 2  # the failed run wrote nothing
    hurried = train_group(configs(tmp_path / "fail fast", [*SMALL, "fail_fast=true"], each))
    assert hurried.failed.keys() == {1}
    assert hurried.alone.keys() == {0, 2}
    assert not (tmp_path / "fail fast").exists()


def test_a_run_locked_by_another_process_is_left_out(tmp_path: Path, configs: Configs) -> None:
    each = configs(tmp_path, SMALL, FOUR)
    train_group(each)
    held = by_lr(tmp_path)[0.01, 1]
    with held.locked():
        assert train_group(each).alone == {2: "another process was training it"}


def test_forced_runs_are_repeated_once(tmp_path: Path, configs: Configs, cut: Callable[[int], None]) -> None:
    train_group(configs(tmp_path, SMALL, FOUR))
    ended = {key: run.record()["ended"] for key, run in by_lr(tmp_path).items()}
    assert train_group(configs(tmp_path, SMALL, FOUR)) == GroupResult()
    assert {key: run.record()["ended"] for key, run in by_lr(tmp_path).items()} == ended
    cut(2)
    result = train_group(configs(tmp_path, [*SMALL, "force=true"], FOUR))
    assert result.begun == result.alone.keys() == {0, 1, 2, 3}
    assert {len(run.read()[1]) for run in by_lr(tmp_path).values()} == {2}


def test_a_lost_gpu_ends_the_process(
    tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The process exits, since all later runs in it would fail too."""

    def lost(*_: Any) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(GroupClassifier, "training_step", lost)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(SystemExit):
        train_group(configs(tmp_path, SMALL, FOUR))
    assert "the group's process exits: AcceleratorError: CUDA error: device-side assert" in capfd.readouterr().err
    assert {run.record()["status"] for run in by_lr(tmp_path).values()} == {"interrupted"}
