"""The events files, read back by TensorBoard's reader and server."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.commands import Command


@pytest.fixture
def written(train: Command, outputs: Path) -> Path:
    ended = train("-m", "optimizer=sgd,adam", "model=mlp", "epochs=2", "data.validation=50", "lr=0.01", DRAWN="1")
    assert ended.returncode == 0, ended.stderr
    return outputs


def test_curves_and_error_figure_equal_the_runs_files(written: Path) -> None:
    for run in (written / "mnist" / "mlp").iterdir():
        read = EventAccumulator(str(run), size_guidance={"images": 0})
        read.Reload()
        splits = ("train", "test", "validation")
        names = {f"{figure}/{split}" for figure in ("loss", "accuracy") for split in splits}
        rest = {
            "run/lr",
            "run/batch_size",
            "run/updates",
            "run/gradients",
            "run/images_per_second",
            "run/seconds",
            "run/evaluation_seconds",
        }
        assert set(read.Tags()["scalars"]) == names | rest
        figures = json.loads((run / "run.json").read_text())["figures"]
        losses = read.Scalars("loss/test")
        assert [point.step for point in losses] == [1, 2]
        assert losses[-1].value == pytest.approx(figures["test_loss"], rel=1e-6)
        (shown,) = read.Images("errors on the test set")
        (run / "shown.png").write_bytes(shown.encoded_image_string)
        with Image.open(run / "shown.png") as one, Image.open(run / "error_figure.png") as other:
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_tensorboard_shows_all_runs_in_one_hparams_table(written: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tensorboard = Path(sys.executable).parent / "tensorboard"
    command = [
        str(tensorboard),
        "--logdir",
        str(written),
        "--port",
        str(port),
        "--load_fast=false",
        "--reload_interval=1",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/data/{path}", data, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)

    try:
        runs: list[str] = []
        for _ in range(120):
            with suppress(OSError):  # not yet up
                runs = ask("runs")
            if len(runs) == 2:
                break
            time.sleep(0.5)
        expected = {f"mnist/mlp/{run.name}" for run in (written / "mnist" / "mlp").iterdir()}
        assert set(runs) == expected
        table = ask("plugin/hparams/experiment", {"experimentName": ""})
        columns = {column["name"] for column in table["hparamInfos"]}
        keys = {
            "data",
            "validation",
            "normalize",
            "model",
            "optimizer",
            "schedule",
            "lr",
            "batch_size",
            "epochs",
            "seed",
        }
        fields = {"optimizer.momentum", "optimizer.betas", "optimizer.fused", "model.hidden", "schedule.warmup"}
        assert columns >= keys | fields
        sessions = ask(
            "plugin/hparams/session_groups",
            {
                "experimentName": "",
                "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"],
                "colParams": [{"hparam": name} for name in sorted(keys | {"optimizer.momentum"})],
                "startIndex": 0,
                "sliceSize": 10,
            },
        )
        rows = [group["hparams"] for group in sessions["sessionGroups"]]
        assert sorted(row["optimizer"] for row in rows) == ["adam", "sgd"]
        assert all(set(row) >= keys for row in rows)
        assert [row.get("optimizer.momentum") for row in rows if row["optimizer"] == "sgd"] == [0.9]
    finally:
        server.terminate()
        server.wait()
