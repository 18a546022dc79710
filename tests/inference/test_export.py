"""The command `python -m src.export`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import src
from tests.helpers.commands import Command
from tests.helpers.images import write_npz
from tests.helpers.runs import the_run

ALONE = """
import sys, torch
network = torch.export.load(sys.argv[1]).module()
for size in (1, 7, 256):
    drawn = torch.Generator().manual_seed(size)
    images = torch.randint(0, 256, (size, *map(int, sys.argv[3:])), dtype=torch.uint8, generator=drawn)
    torch.save(network(images), f"{sys.argv[2]}-{size}.pt")
assert not any(name.partition(".")[0] == "src" for name in sys.modules)
"""


@pytest.mark.parametrize("data", ["mnist", "coloured"])
def test_exported_networks_agree_without_this_code(
    data: str, train: Command, command: Command, outputs: Path, tmp_path: Path
) -> None:
    own = ["data=arrays", f"data.path={write_npz(tmp_path / 'my.npz', (3, 20, 24))}"] if data == "coloured" else []
    assert train("model=lenet", "epochs=1", "data.normalize=standard", *own).returncode == 0
    network = src.load(the_run(outputs))
    for suffix in ("onnx", "pt2"):
        ended = command("export", "lenet", tmp_path / f"net.{suffix}")
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
    assert sorted(path.name for path in tmp_path.glob("net.*")) == ["net.onnx", "net.pt2"]
    script = [sys.executable, "-c", ALONE, "net.pt2", "logits", *map(str, network.image_shape)]
    subprocess.run(script, cwd=tmp_path, check=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    for size in (1, 7, 256):
        drawn = torch.Generator().manual_seed(size)
        images = torch.randint(0, 256, (size, *network.image_shape), dtype=torch.uint8, generator=drawn)
        with torch.no_grad():
            expected = network(images)
        (of_onnx,) = session.run(["logits"], {"images": images.numpy()})
        for found in (np.asarray(of_onnx), torch.load(tmp_path / f"logits-{size}.pt").detach().numpy()):
            np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)
            assert (found.argmax(1) == expected.numpy().argmax(1)).all()


def test_mistakes_are_told_in_one_line(train: Command, command: Command, tmp_path: Path) -> None:
    assert train("model=mlp", "epochs=1").returncode == 0
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "link.pt2").symlink_to(tmp_path / "target.pt2")
    for arguments, says in {
        ("mlp",): "no file: give one file after the run, FILE.onnx or FILE.pt2",
        ("mlp", "net.h5"): "net.h5: give one file after the run",
        ("mlp", "a.onnx", "b.onnx"): "a.onnx b.onnx: give one file",
        ("mlp", tmp_path / "no" / "net.pt2"): f"{tmp_path}/no does not exist; create that folder",
        ("mlp", tmp_path / "folder.onnx"): f"{tmp_path}/folder.onnx: is a folder; name a file that does not exist yet",
        ("mlp", tmp_path / "link.pt2"): f"{tmp_path}/link.pt2: is a symbolic link; name a file",
    }.items():
        ended = command("export", *arguments)
        assert ended.returncode == 2
        assert says in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert (tmp_path / "folder.onnx").is_dir()
    assert (tmp_path / "link.pt2").is_symlink()
