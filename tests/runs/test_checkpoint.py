from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.runs.checkpoint import AtomicCheckpointIO, intact

CONTENT = {"weights": torch.arange(500.0), "curve": [{"epoch": 1, "loss": 0.1}]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    return path


def load(path: Path) -> object:
    return torch.load(path, weights_only=True)


def test_what_is_saved_is_loaded(checkpoint: Path) -> None:
    assert intact(checkpoint)
    torch.testing.assert_close(load(checkpoint), CONTENT)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.ckpt"]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_bit_is_found_or_harmless(checkpoint: Path, data: st.DataObject) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = checkpoint.parent.parent / f"{checkpoint.parent.name}.ckpt"
    changed.write_bytes(content)
    if intact(changed):
        torch.testing.assert_close(load(changed), CONTENT, rtol=0, atol=0)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 0.999))
def test_a_torn_file_is_found(checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    torn = checkpoint.parent.parent / f"{checkpoint.parent.name}.torn"
    torn.write_bytes(content[: int(share * len(content))])
    assert not intact(torn)


def test_no_file_is_not_intact(tmp_path: Path) -> None:
    assert not intact(tmp_path / "none")
