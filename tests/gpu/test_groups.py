"""Groups and runs alone on a GPU, with real CUDA graphs."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from src.fused import callback, cuda_graphs
from src.fused.callback import GroupRecorder
from src.fused.train_group import train_group
from src.fused.verification import TOLERANCE
from src.runs.directory import Run
from tests.fused.test_parity import LRS, OPTIMIZERS, compare
from tests.helpers.commands import Command
from tests.helpers.groups import Configs, assert_near, runs_in
from tests.helpers.runs import the_run


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_every_optimizer(model: str, tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    captured: list[Any] = []
    capture = cuda_graphs.capture

    def counted(function: Callable[..., None], example: Any) -> Any:
        captured.append(example.shape)
        return capture(function, example)

    monkeypatch.setattr(cuda_graphs, "capture", counted)
    each = [
        [f"optimizer={optimizer}", f"lr={lr}", f"seed={seed}"]
        for optimizer, seed in product(OPTIMIZERS, (0, 3))
        for lr in LRS.get(optimizer, (1e-3, 5e-4))
    ]
    compare(tmp_path, configs, [f"model={model}", "batch_size=4", "epochs=2", "device=cuda"], each, 1e-8)
    assert captured
    for file in tmp_path.glob("group/*/*/*/run.json"):
        found = json.loads(file.read_text())["verified"]
        assert found["stack"] < 1e-6
        assert found["graph"] < 1e-6


def test_verified_in_single_precision_and_with_tf32(tmp_path: Path, configs: Configs) -> None:
    each = [[f"optimizer={optimizer}", f"seed={seed}"] for optimizer, seed in product(OPTIMIZERS, (0, 3))]
    assert not train_group(configs(tmp_path, ["model=lenet", "batch_size=20", "epochs=2", "device=cuda"], each)).alone
    for run in runs_in(tmp_path):
        found = Run(tmp_path / run).record()["verified"]
        assert found["stack"] < TOLERANCE
        assert found["graph"] < TOLERANCE


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_group_resumes_on_another_device(
    first: str, second: str, tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = [["optimizer=adam"], ["optimizer=sgd", "lr=0.01"]]
    common = ["model=mlp", "batch_size=20", "epochs=4"]
    assert not train_group(configs(tmp_path / "whole", [*common, f"device={second}"], each)).alone

    end = GroupRecorder.on_train_epoch_end

    def cut(self: GroupRecorder, trainer: Any, pl_module: Any) -> None:
        end(self, trainer, pl_module)
        if pl_module.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callback, "PERIOD", 0.0)
        patch.setattr(callback, "SHARE", 0.0)
        patch.setattr(GroupRecorder, "on_train_epoch_end", cut)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train_group(configs(tmp_path / "cut", [*common, f"device={first}"], each))
    assert not train_group(configs(tmp_path / "cut", [*common, f"device={second}"], each)).alone
    for run in runs_in(tmp_path / "whole"):
        assert_near(tmp_path / "whole" / run, tmp_path / "cut" / run, 1e-8)


def test_a_group_that_does_not_fit_is_halved(tmp_path: Path, configs: Configs) -> None:
    each = [[f"lr={0.001 * (number + 1)}"] for number in range(8)]
    common = ["model=lenet", "batch_size=300", "epochs=1", "device=cuda"]
    assert not train_group(configs(tmp_path / "whole", common, each)).alone
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    peak = torch.cuda.max_memory_reserved()
    torch.cuda.set_per_process_memory_fraction(0.7 * peak / total)
    try:
        result = train_group(configs(tmp_path / "halved", common, each))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert not result.failed
    records = [Run(tmp_path / "halved" / run).record() for run in runs_in(tmp_path / "halved")]
    assert max(record["sessions"][-1]["group_size"] for record in records) <= 4


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_each_gpu_trains_groups_of_its_own(typed_train: Command, outputs: Path) -> None:
    sweep = typed_train("-m", "model=mlp", "epochs=2", "optimizer=sgd,adam", "lr=0.01,0.001,0.0001")
    assert sweep.returncode == 0, sweep.stderr
    assert "6 runs will be trained as 2 models" in sweep.stdout
    assert {Run(outputs / run).record()["sessions"][0]["group_size"] for run in runs_in(outputs)} == {3}


def test_a_run_and_a_sweep_use_the_gpu(typed_train: Command, outputs: Path) -> None:
    alone = typed_train("model=mlp", "epochs=2")
    assert alone.returncode == 0, alone.stderr
    assert json.loads((the_run(outputs) / "run.json").read_text())["sessions"][0]["device"] != "cpu"
    sweep = typed_train("-m", "model=mlp", "epochs=2", "optimizer=sgd,adam", "lr=0.01,0.001")
    assert sweep.returncode == 0, sweep.stderr
    assert "4 runs will be trained as 1 model" in sweep.stdout
    records = [json.loads(file.read_text()) for file in outputs.rglob("run.json")]
    assert sorted(record["sessions"][0]["group_size"] for record in records) == [1, 4, 4, 4, 4]
    assert all(record["sessions"][0]["device"] != "cpu" for record in records)
