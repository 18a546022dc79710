import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.native.build import backend
from src.native.gather import Pixels


@settings(deadline=None)  # the first example may compile the native code
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5)),
    st.lists(st.integers(0, 8), max_size=40),
    st.integers(0, 2**31),
)
def test_each_byte_is_normalised(shape: tuple[int, int, int], chosen: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    images, labels = torch.randint(0, 256, (9, *shape), dtype=torch.uint8), torch.arange(9)
    mean, std = torch.rand(shape[0], 1, 1), torch.rand(shape[0], 1, 1) + 0.01
    found, of = Pixels(images, labels, mean, std).minibatch(torch.tensor(chosen, dtype=torch.int64))
    assert found.shape == (len(chosen), *shape)
    assert of.tolist() == chosen
    for to, index in enumerate(chosen):
        for channel in range(shape[0]):
            expected = (images[index, channel].float() / 255 - mean[channel]) / std[channel]
            assert torch.equal(found[to, channel], expected)


@settings(deadline=None)
@given(st.just(0.0) | st.floats(2**-20, 1, width=32), st.floats(2**-10, 1, width=32))
def test_torch_and_the_native_code_agree_bit_for_bit(mean: float, std: float) -> None:
    assert backend().startswith("native")
    images, labels = torch.arange(256, dtype=torch.uint8).repeat(2, 3, 2, 1), torch.arange(2)
    native = Pixels(images, labels, *torch.tensor([[[[mean]]] * 3, [[[std]]] * 3])).minibatch(labels)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.native.build.backend", lambda: "torch: switched off")
        torchs = Pixels(images, labels, *torch.tensor([[[[mean]]] * 3, [[[std]]] * 3])).minibatch(labels)[0]
    assert torch.equal(native, torchs)
