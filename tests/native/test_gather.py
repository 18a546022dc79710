import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.native.build import backend
from src.native.gather import gather


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5)),
    st.lists(st.integers(0, 8), max_size=40),
    st.integers(0, 2**31),
)
def test_each_pixel_is_the_value_of_its_byte(shape: tuple[int, int, int], chosen: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    images = torch.randint(0, 256, (9, *shape), dtype=torch.uint8)
    values, indices = torch.randn(shape[0], 256), torch.tensor(chosen, dtype=torch.int64)
    expected = torch.empty(len(chosen), *shape)
    for to, index in enumerate(chosen):
        for channel in range(shape[0]):
            expected[to, channel] = values[channel][images[index, channel].int()]
    assert torch.equal(gather(images, indices, values), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_torch_and_the_native_code_agree(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend().startswith("native")
    images = torch.randint(0, 256, (300, channels, 28, 28), dtype=torch.uint8)
    indices, values = torch.randperm(300), torch.arange(256 * channels).div(255).sub(0.13).view(channels, 256)
    native = gather(images, indices, values)
    monkeypatch.setattr("src.native.gather.backend", lambda: "torch: switched off")
    assert torch.equal(native, gather(images, indices, values))
