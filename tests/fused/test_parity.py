"""Runs trained in a group, compared with the same runs trained alone."""

import importlib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from src.fused.member import Member
from src.fused.result import GroupResult
from src.fused.train_group import train_group
from src.native.build import backend
from src.runs.directory import Run
from tests.helpers.groups import Configs, assert_near, runs_in, train_alone
from tests.helpers.images import write_npz
from tests.helpers.runs import TIMED, curve

OPTIMIZERS = ("adagrad", "adam", "adamw", "nadam", "rmsprop", "sgd", "sgd_nesterov")
LRS = {"sgd": (0.05, 0.01), "sgd_nesterov": (0.05, 0.01), "adagrad": (0.05, 0.01)}


def compare(
    tmp_path: Path, configs: Configs, common: list[str], each: list[list[str]], tolerance: float = 1e-10
) -> None:
    """Train the same runs in groups and alone, and compare them."""
    result = train_group(configs(tmp_path / "group", common, each))
    assert result == GroupResult(begun=set(range(len(each))))
    for config in configs(tmp_path / "alone", common, each):
        train_alone(config)
    paths = runs_in(tmp_path / "alone")
    assert len(paths) == len(each)
    assert runs_in(tmp_path / "group") == paths
    for path in paths:
        alone, grouped = tmp_path / "alone" / path, tmp_path / "group" / path
        assert_near(alone, grouped, tolerance)
        names = [{file.name.partition("tfevents")[0] for file in run.iterdir()} for run in (alone, grouped)]
        assert names[1] == names[0] | {".hydra"}  # for a run alone, the command writes it
        assert Run(alone).predictions_file.read_bytes() == Run(grouped).predictions_file.read_bytes()
        checkpoints = [torch.load(run / "last.ckpt", weights_only=True) for run in (alone, grouped)]
        assert checkpoints[0].keys() - checkpoints[1].keys() == {"snapshot", "unsaved"}  # a group has only plain state
        assert checkpoints[1].keys() <= checkpoints[0].keys()
        assert checkpoints[0]["loops"] == checkpoints[1]["loops"]
        assert all(weight._is_view() is False for weight in checkpoints[1]["state_dict"].values())
        sizes = [(run / "last.ckpt").stat().st_size for run in (alone, grouped)]
        assert sizes[1] < 1.1 * sizes[0]
        record = Run(grouped).record()
        assert record["fused"] is True
        assert record["sessions"][-1]["group_size"] > 1
        assert Run(alone).record()["fused"] is False


@pytest.mark.usefixtures("double")
# With 300 images, the last minibatch is smaller or not.
@pytest.mark.parametrize(("model", "batch_size"), [("mlp", 64), ("mlp", 100), ("lenet", 64)])
def test_every_optimizer(model: str, batch_size: int, tmp_path: Path, configs: Configs) -> None:
    """Train one group of all optimizers, each with two lrs and with two seeds."""
    each = [
        [f"optimizer={optimizer}", f"lr={LRS.get(optimizer, (1e-3, 5e-4))[number]}", f"seed={seed}"]
        for optimizer, (number, seed) in product(OPTIMIZERS, ((0, 0), (1, 0), (0, 3)))
    ]
    compare(tmp_path, configs, [f"model={model}", f"batch_size={batch_size}", "epochs=2"], each)


@pytest.mark.usefixtures("double")
def test_schedules_and_validation_sets(tmp_path: Path, configs: Configs) -> None:
    """Runs with growing batches form a group of their own; all other schedules share one."""
    schedules = [
        ["schedule=constant", "schedule.warmup=1"],
        ["schedule=cosine"],
        ["schedule=step", "schedule.milestones=[1,2]"],
        ["schedule=exponential"],
        ["schedule=grow_batch", "schedule.milestones=[1,2]", "schedule.factor=2"],
    ]
    each = [[*schedule, f"seed={seed}"] for schedule, seed in product(schedules, (0, 1))]
    compare(tmp_path, configs, ["model=mlp", "epochs=3", "data.validation=50", "batch_size=32"], each)
    sizes = [Run(tmp_path / "group" / run).record()["sessions"][0]["group_size"] for run in runs_in(tmp_path / "group")]
    assert sorted(sizes) == [2, 2] + 8 * [8]


@pytest.mark.usefixtures("double")
def test_augmented_images_of_another_shape(tmp_path: Path, configs: Configs) -> None:
    data = "data=arrays", f"data.path={write_npz(tmp_path / 'my.npz', (3, 20, 24))}", "data.augment=flip_shift"
    each = [[f"optimizer={name}", "lr=0.01", f"seed={seed}"] for name, seed in product(("sgd", "adam"), (0, 1))]
    compare(tmp_path, configs, [*data, "model=lenet", "epochs=2"], each)


def test_in_single_precision_beside_runs_on_the_native_code(tmp_path: Path, configs: Configs) -> None:
    assert backend().startswith("native")
    each = [[f"lr={lr}", f"seed={seed}"] for lr, seed in product((1e-3, 1e-4), (0, 1))]
    compare(tmp_path, configs, ["model=lenet", "epochs=1"], each, tolerance=1e-3)


@pytest.mark.usefixtures("double")
def test_capturable_optimizers(tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test the optimizers' capturable branches, which can be enabled on a CPU."""
    for optimizer in ("adam", "nadam", "rmsprop"):
        module = importlib.import_module(f"torch.optim.{optimizer}")
        monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda supports_xla=True: ["cpu"])
    build = Member.build

    def capturable(self: Member, *arguments: Any) -> None:
        build(self, *arguments)
        for group in self.training.classifier.optimizer.param_groups:
            group["capturable"] = True

    monkeypatch.setattr(Member, "build", capturable)
    fused, foreach = "optimizer.fused=false", "+optimizer.foreach=false"
    branches = ("adam", fused), ("adamw", fused), ("nadam", foreach), ("rmsprop", foreach)
    each = [[f"optimizer={name}", switch, f"seed={seed}"] for name, switch in branches for seed in (0, 1)]
    assert not train_group(configs(tmp_path / "group", ["model=mlp", "epochs=2"], each)).alone
    for config in configs(tmp_path / "alone", ["model=mlp", "epochs=2"], each):
        train_alone(config)
    for path in runs_in(tmp_path / "alone"):
        rows = [
            [
                {key: float(value) for key, value in row.items() if key not in TIMED}
                for row in curve(tmp_path / way / path)
            ]
            for way in ("alone", "group")
        ]
        for one, other in zip(*rows, strict=True):
            assert one == pytest.approx(other, rel=1e-10)
        weights = [
            torch.load(tmp_path / way / path / "last.ckpt", weights_only=True)["state_dict"]
            for way in ("alone", "group")
        ]
        torch.testing.assert_close(*weights, rtol=1e-9, atol=1e-11)
