import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.native.build import backend
from src.native.gather import gather


@given(st.integers(1, 9), st.integers(1, 5), st.lists(st.integers(0, 8), max_size=40), st.integers(0, 2**31))
def test_each_pixel_is_the_value_of_its_byte(height: int, width: int, chosen: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    images = torch.randint(0, 256, (9, height, width), dtype=torch.uint8)
    values, indices = torch.randn(256), torch.tensor(chosen, dtype=torch.int64)
    expected = (
        torch.stack([values[images[index].int()] for index in chosen]) if chosen else torch.empty(0, height, width)
    )
    assert torch.equal(gather(images, indices, values), expected.unsqueeze(1))


def test_torch_and_the_native_code_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend().startswith("native")
    images = torch.randint(0, 256, (300, 28, 28), dtype=torch.uint8)
    indices, values = torch.randperm(300), torch.arange(256).div(255).sub(0.13)
    native = gather(images, indices, values)
    monkeypatch.setattr("src.native.gather.backend", lambda: "torch: switched off")
    assert torch.equal(native, gather(images, indices, values))
