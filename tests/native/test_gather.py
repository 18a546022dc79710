import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from src.native.build import backend
from src.native.gather import gather


def assert_normalised(images: Tensor, chosen: list[int]) -> None:
    """Compare with bytes that are scaled and shifted one by one in float64."""
    affine = torch.randn(images.shape[1], 2).div(torch.tensor([128, 1]))
    found = gather(images, torch.tensor(chosen, dtype=torch.int64), affine)
    assert found.shape == (len(chosen), *images.shape[1:])
    for to, index in enumerate(chosen):
        for channel, (scale, shift) in enumerate(affine.double()):
            expected = images[index, channel] * scale + shift
            torch.testing.assert_close(found[to, channel].double(), expected, rtol=0, atol=2e-6)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5)),
    st.lists(st.integers(0, 8), max_size=40),
    st.integers(0, 2**31),
)
def test_each_byte_is_scaled_and_shifted(shape: tuple[int, int, int], chosen: list[int], seed: int) -> None:
    assert backend().startswith("native")
    torch.manual_seed(seed)
    assert_normalised(torch.randint(0, 256, (9, *shape), dtype=torch.uint8), chosen)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("native", [True, False])
def test_whole_images(channels: int, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr("src.native.gather.backend", lambda: "torch: switched off")
    images = torch.randint(0, 256, (300, channels, 28, 28), dtype=torch.uint8)
    assert_normalised(images, torch.randperm(300).tolist())
