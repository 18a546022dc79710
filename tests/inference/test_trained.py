"""Trained networks, loaded from their runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import src
from src.data.datasets import load as load_images
from src.errors import UserError
from src.runs.directory import Run
from src.schedules import Schedule
from src.training.datamodule import DataModule
from tests.helpers.commands import ROOT, Command, environment
from tests.helpers.groups import runs_in
from tests.helpers.images import NAMES, write_npz
from tests.helpers.runs import the_run


def assert_predicts(run: Path, images: np.ndarray) -> None:
    """Assert that the loaded network makes the predictions that the run stored."""
    stored = Run(run).predictions(len(images))
    assert stored is not None
    network = src.load(run)
    labels, probabilities = network.predict(images)
    assert labels.tolist() == stored[0].tolist()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(images)))
    assert (labels.numpy() == stored[1]).mean() == network.record["figures"]["test_accuracy"]


@pytest.mark.parametrize("normalize", ["half", "standard"])
@pytest.mark.parametrize("model", ["lenet", "mlp"])
def test_a_loaded_network_predicts_what_its_run_did(
    model: str, normalize: str, train: Command, outputs: Path, small_mnist: Path
) -> None:
    assert train(f"model={model}", "epochs=2", "lr=0.01", f"data.normalize={normalize}").returncode == 0
    assert_predicts(the_run(outputs), load_images("mnist", str(small_mnist)).test_images)


def test_runs_of_a_group_and_coloured_images_too(train: Command, outputs: Path, tmp_path: Path) -> None:
    file = write_npz(tmp_path / "my.npz", (3, 20, 24))
    command = "-m", "data=arrays", f"data.path={file}", "model=lenet", "seed=0,1", "epochs=2"
    assert train(*command, "hydra.launcher.vectorize=true").returncode == 0
    with np.load(file) as arrays:
        images = arrays["x_test"]
    for run in runs_in(outputs):
        assert Run(outputs / run).record()["fused"]
        assert_predicts(outputs / run, images)
        assert src.load(outputs / run).classes == NAMES


def test_pixels_are_normalised_to_the_values_trained_on(train: Command, outputs: Path, small_mnist: Path) -> None:
    assert train("model=mlp", "epochs=1", "data.normalize=standard").returncode == 0
    images = load_images("mnist", str(small_mnist))
    data = DataModule(images, Schedule(1), 64, 0, 0, "standard").to(torch.device("cpu"))
    expected, _ = data.splits["test"].minibatch(torch.arange(80))
    network = src.load(the_run(outputs))
    seen = []
    network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.from_numpy(images.test_images))
    assert torch.equal(seen[0], expected)


def test_wrong_images_are_an_error(train: Command, outputs: Path) -> None:
    assert train("model=mlp", "epochs=1").returncode == 0
    network = src.load(the_run(outputs))
    assert network.predict(np.zeros((0, 28, 28), np.uint8))[1].shape == (0, 10)
    for wrong in (torch.zeros(2, 28, 28), torch.zeros(2, 20, 20, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"must be \(B, 1, 28, 28\) or \(B, 28, 28\), torch\.uint8"):
            network.predict(wrong)


def test_a_run_is_found_as_the_best_or_by_a_part_of_its_name(train: Command, outputs: Path) -> None:
    assert train("-m", "model=mlp", "epochs=2", "lr=0.005,1e-9").returncode == 0
    best = src.load("best", outputs).record
    assert best["settings"]["lr"] == 0.005
    assert src.load("lr0.005", outputs).record == best
    with pytest.raises(UserError, match=r"^adam-bs64: is part of the names of 2 runs"):
        src.load("adam-bs64", outputs)


def test_errors_name_the_run(train: Command, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("model=mlp", "epochs=2").returncode == 0
    run = the_run(outputs)
    record = json.loads((run / "run.json").read_text())
    with pytest.raises(UserError, match="is neither the folder of a run nor a part of one"):
        src.load(outputs)
    begun = {key: value for key, value in record.items() if key != "figures"} | {"status": "interrupted"}
    (run / "run.json").write_text(json.dumps(begun))
    with pytest.raises(UserError, match="has 2 of 2 epochs; the command that began it resumes it"):
        src.load(run)
    (run / "run.json").write_text(json.dumps(record | {"status": "diverged"}))
    src.load(run)
    assert "this run diverged" in capsys.readouterr().err
    content = bytearray((run / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (run / "last.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be loaded: "):
        src.load(run)


def test_changed_code_is_named(train: Command, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("model=mlp", "epochs=1").returncode == 0
    monkeypatch.setattr("src.inference.trained.new_model", lambda *_: torch.nn.Sequential(torch.nn.Linear(784, 10)))
    with pytest.raises(UserError, match=r"cannot be loaded: its network is of another class"):
        src.load(the_run(outputs))


def test_loading_imports_no_lightning(train: Command, outputs: Path) -> None:
    assert train("model=lenet", "epochs=1").returncode == 0
    script = (
        "import sys, src\n"
        f"src.load({str(the_run(outputs))!r})\n"
        "slow = {'torchvision', 'pandas', 'matplotlib'}\n"
        "print([name for name in sys.modules if 'lightning' in name or name in slow])"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=ROOT, env=environment(ROOT), capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


def test_read_gives_the_frames(train: Command, outputs: Path) -> None:
    assert train("-m", "model=mlp", "epochs=2", "lr=0.01,0.02").returncode == 0
    frames = src.read(outputs)
    assert sorted(frames.runs.lr) == [0.01, 0.02]
    assert len(frames.curves) == 4
