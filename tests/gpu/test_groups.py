"""Groups and runs alone on a GPU, with real CUDA graphs."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from src.fused import cuda_graphs
from tests.fused.test_parity import LRS, OPTIMIZERS, compare
from tests.helpers.commands import Command
from tests.helpers.groups import Configs
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
