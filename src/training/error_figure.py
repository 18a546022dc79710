"""The error figure: the confusion matrix, and the misclassified images with the highest loss."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

WORST = 24  # images shown, in 4 rows of 6


def confusion(labels: Tensor, predictions: Tensor) -> Tensor:
    """Return the confusion matrix (10, 10): rows are labels, columns predictions."""
    return torch.bincount(labels * 10 + predictions, minlength=100).view(10, 10)


@mpl.rc_context({"text.parse_math": False})  # class names are not formulas
def error_figure(
    images: Tensor, labels: Tensor, logits: Tensor, classes: Sequence[str], title: str
) -> NDArray[np.uint8]:
    """Return the figure's pixels (H, W, 3) for images (N, 28, 28), labels (N,) and logits (N, 10), all on the CPU."""
    predictions = logits.argmax(1)
    matrix = confusion(labels, predictions)
    figure = Figure(figsize=(12, 6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    wrong = int((labels != predictions).sum())
    figure.suptitle(f"{title}: {wrong} of {len(labels)} wrong")
    left, right = figure.subfigures(1, 2, squeeze=False)[0]

    axes = left.subplots()
    off_diagonal = matrix.clone().fill_diagonal_(0)
    axes.imshow(off_diagonal.numpy(), cmap="Reds", vmin=0, vmax=max(1, int(off_diagonal.max())))
    axes.set_xticks(range(10), classes, rotation=45 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(range(10), classes)
    axes.set(xlabel="predicted", ylabel="true")
    dark = int(off_diagonal.max()) * 0.6
    for row, column in np.ndindex(10, 10):
        if count := int(matrix[row, column]):
            colour = "grey" if row == column else "white" if count > dark else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)

    losses = cross_entropy(logits, labels, reduction="none").nan_to_num(nan=torch.inf)
    losses[labels == predictions] = -1.0
    worst = losses.argsort(descending=True, stable=True)[: min(WORST, wrong)]
    right.suptitle("highest losses: true \N{RIGHTWARDS ARROW} predicted", fontsize=10)
    grid = right.subplots(4, 6, gridspec_kw={"hspace": 0.05})
    for place in grid.flat:
        place.axis("off")
    for place, index in zip(grid.flat, worst.tolist(), strict=False):
        place.imshow(images[index].numpy(), cmap="gray_r", vmin=0, vmax=255)
        place.set_title(
            f"{classes[int(labels[index])]} \N{RIGHTWARDS ARROW} {classes[int(predictions[index])]}", fontsize=8
        )
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
