"""The generators of random numbers that a network or an optimizer may use: torch's, NumPy's and Python's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python; `seed` is 0 or more."""
    torch.manual_seed(seed)
    # Words of 32 bits, since NumPy takes no larger number. A user's code may draw from this generator.
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])  # noqa: NPY002
    random.seed(seed)


def states() -> Any:
    """Return the states of the global generators of the CPU."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def set_states(found: Any) -> None:
    """Set the global generators of the CPU to what `states` returned."""
    random.setstate(found[0])
    np.random.set_state(found[1])  # noqa: NPY002
    torch.set_rng_state(found[2])


@contextmanager
def kept_generators() -> Iterator[None]:
    """Leave the global generators of the CPU as they are, whatever is drawn within."""
    before = states()
    try:
        yield
    finally:
        set_states(before)
