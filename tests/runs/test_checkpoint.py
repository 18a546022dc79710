from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.files import Damaged
from src.runs.checkpoint import read
from src.training.checkpoint_io import AtomicCheckpointIO

EPOCH = {"epoch": 1, "train_loss": 0.1, "train_accuracy": 0.9, "test_loss": 0.2, "test_accuracy": 0.8, "updates": 5}
CONTENT = {"weights": torch.arange(500.0), "curve": [EPOCH | {"seconds": 0.5}]}
DIGEST = "0123abcd"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "last.ckpt"
    AtomicCheckpointIO({"digest": DIGEST}).save_checkpoint(CONTENT, path)
    return path


def is_intact(path: Path) -> bool:
    try:
        read(path, DIGEST)
    except Damaged:
        return False
    return True


def assert_content(found: dict[str, Any]) -> None:
    assert found.pop("digest") == DIGEST
    torch.testing.assert_close(found, CONTENT, rtol=0, atol=0)


def test_a_saved_checkpoint_is_loaded(checkpoint: Path) -> None:
    assert_content(read(checkpoint, DIGEST))
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.ckpt"]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_flipped_bit_is_detected_or_harmless(checkpoint: Path, data: st.DataObject) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = checkpoint.parent.parent / f"{checkpoint.parent.name}.ckpt"
    changed.write_bytes(content)
    if is_intact(changed):
        assert_content(read(changed, DIGEST))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 0.999))
def test_a_truncated_file_is_detected(checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    torn = checkpoint.parent.parent / f"{checkpoint.parent.name}.torn"
    torn.write_bytes(content[: int(share * len(content))])
    assert not is_intact(torn)


def test_a_checkpoint_of_another_run_is_rejected(checkpoint: Path) -> None:
    with pytest.raises(Damaged, match="belongs to run 0123abcd"):
        read(checkpoint, "another_")
