from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from src.training.error_figure import confusion, error_figure
from tests.helpers.commands import Command
from tests.helpers.images import bars

DIGITS = [str(digit) for digit in range(10)]


def test_confusion_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 10, (2, 500))
    ours = confusion(torch.from_numpy(labels), torch.from_numpy(predictions), 10)
    np.testing.assert_array_equal(ours.numpy(), confusion_matrix(labels, predictions, labels=range(10)))


@pytest.mark.parametrize("case", ["some wrong", "none wrong", "all wrong", "not finite"])
def test_a_figure_is_drawn_for_any_logits(case: str) -> None:
    images, labels = (torch.from_numpy(array) for array in bars(60, 0))
    labels = labels.long()
    logits = torch.nn.functional.one_hot(labels, 10).float()
    if case == "some wrong":
        logits[:5] = logits[:5].roll(1, dims=1)
    if case == "all wrong":
        logits = logits.roll(1, dims=1)
    if case == "not finite":
        logits[:] = torch.nan
    pixels = error_figure(images[:, None], labels, logits, DIGITS, case)
    assert pixels.shape == (600, 1200, 3)
    shown = (pixels[:, 620:] < 100).any(axis=2).mean()  # dark pixels where the misclassified images are
    assert (shown > 0.005) == (case != "none wrong")


@pytest.mark.parametrize(("channels", "classes"), [(3, 7), (1, 20), (3, 21), (1, 300)])
def test_colours_and_many_classes_are_drawn(channels: int, classes: int) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (400, channels, 20, 24), dtype=torch.uint8)
    labels = torch.arange(400) % classes
    names = [f"a class with a long name, {number}" for number in range(classes)]
    pixels = error_figure(images, labels, torch.randn(400, classes), names, "random")
    assert pixels.shape == (600, 1200, 3)
    coloured = (pixels[:, 620:].max(axis=2) - pixels[:, 620:].min(axis=2)) > 60
    assert (coloured.mean() > 0.05) == (channels == 3)


def test_class_names_are_not_parsed_as_formulas() -> None:
    images, labels = (torch.from_numpy(array) for array in bars(60, 0))
    labels = labels.long()
    logits = torch.nn.functional.one_hot(labels, 10).float().roll(1, dims=1)
    assert error_figure(images[:, None], labels, logits, [r"$\frac$"] * 10, r"$\frac$ and $").shape == (600, 1200, 3)


def test_a_first_run_prints_no_font_message(typed_train: Command, tmp_path: Path) -> None:
    ended = typed_train("model=mlp", "epochs=1", MPLCONFIGDIR=str(tmp_path / "mpl"))
    assert list((tmp_path / "mpl").glob("fontlist*.json"))
    assert "fontManager" not in ended.stdout + ended.stderr
