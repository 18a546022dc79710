"""Axes of the report's figures."""

import pytest
from matplotlib.figure import Figure

from src.reporting.figures import _label_plainly


@pytest.mark.parametrize("decades", [0.02, 0.3, 1, 2, 2.4, 2.6, 4, 6, 9, 12])
def test_a_logarithmic_axis_has_some_plain_labels_whatever_it_spans(decades: float) -> None:
    figure = Figure(figsize=(5, 3.6))
    axis = figure.subplots()
    axis.plot([0, 1], [1.0, 10**-decades])
    axis.set_yscale("log")
    _label_plainly(axis.yaxis, 300)
    figure.draw_without_rendering()
    low, high = axis.get_ylim()
    shown = [label.get_text() for label in axis.get_yticklabels() if low <= label.get_position()[1] <= high]
    assert 2 <= len(shown) <= 10
    assert all(float(text) > 0 for text in shown)
