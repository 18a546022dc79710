"""Figures of images and labels."""

import numpy as np
import pytest

from src.data.images import label_type, largest_class


@pytest.mark.parametrize(
    ("labels", "share"),
    [([0, 1, 2, 3], 0.25), ([0, 2, 2, 2, 1], 0.6), ([1, 1], 1.0), ([], 0.0), ([299, 0, 299], 2 / 3)],
)
def test_the_share_of_the_largest_class(labels: list[int], share: float) -> None:
    assert largest_class(np.array(labels, label_type(300))) == share
    if max(labels, default=0) < 256:
        assert largest_class(np.array(labels, np.uint8)) == share
