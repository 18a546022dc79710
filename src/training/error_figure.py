"""The error figure: the confusion matrix, and the misclassified images with the highest loss."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

WORST, IN_A_ROW = 24, 6  # images shown
MATRIX = 20  # classes at most in a confusion matrix; above, the pairs that are confused most often are shown
PAIRS = 20
LONGEST = 14  # letters of a class name that are shown
SHORT = 5  # letters of class names of which two fit above an image
ARROW = "\N{RIGHTWARDS ARROW}"


def confusion(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Return the confusion matrix (K, K): rows are labels, columns predictions."""
    return torch.bincount(labels * classes + predictions, minlength=classes**2).view(classes, classes)


@mpl.rc_context({"text.parse_math": False})  # class names are not formulas
def error_figure(
    images: Tensor, labels: Tensor, logits: Tensor, classes: Sequence[str], title: str
) -> NDArray[np.uint8]:
    """Return the figure's pixels (H, W, 3).

    images (N, C, H, W), labels (N,) and logits (N, K) of K classes, all on the CPU.
    """
    predictions = logits.argmax(1)
    matrix = confusion(labels, predictions, len(classes))
    figure = Figure(figsize=(12, 6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    wrong = int((labels != predictions).sum())
    figure.suptitle(f"{title}: {wrong} of {len(labels)} wrong")
    left, right = figure.subfigures(1, 2, squeeze=False)[0]
    shown = [_short(name) for name in classes]
    (_draw_matrix if len(classes) <= MATRIX else _draw_pairs)(left.subplots(), matrix, shown)

    losses = cross_entropy(logits, labels, reduction="none").nan_to_num(nan=torch.inf)
    losses[labels == predictions] = -1.0
    worst = losses.argsort(descending=True, stable=True)[: min(WORST, wrong)]
    right.suptitle(f"highest losses: true {ARROW} predicted", fontsize=10)
    pairs = zip(labels[worst].tolist(), predictions[worst].tolist(), strict=True)
    between = f" {ARROW} " if max(map(len, shown)) <= SHORT else f"\n{ARROW} "
    captions = [f"{shown[true]}{between}{shown[predicted]}" for true, predicted in pairs]
    _draw_images(right.subplots(), images[worst].movedim(1, -1).numpy(), captions)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _draw_images(axes: Axes, images: NDArray[np.uint8], captions: Sequence[str]) -> None:
    """Draw images (N, H, W, C) in rows of 6, captions above, as one picture: axes for each would take half a second."""
    _, height, width, channels = images.shape
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    row, column = math.ceil((1.1 + 0.2 * lines) * height), math.ceil(1.2 * width)
    mosaic = np.full((WORST // IN_A_ROW * row, IN_A_ROW * column, channels), 255 if channels == 3 else 0, np.uint8)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        bottom, left = (place // IN_A_ROW + 1) * row, place % IN_A_ROW * column
        mosaic[bottom - height : bottom, left : left + width] = image
        axes.text(left + width / 2, bottom - 1.03 * height, caption, ha="center", va="bottom", fontsize=8)
    axes.imshow(mosaic.squeeze(2) if channels == 1 else mosaic, cmap="gray_r", vmin=0, vmax=255)
    axes.axis("off")


def _draw_matrix(axes: Axes, matrix: Tensor, classes: Sequence[str]) -> None:
    off_diagonal = matrix.clone().fill_diagonal_(0)
    axes.imshow(off_diagonal.numpy(), cmap="Reds", vmin=0, vmax=max(1, int(off_diagonal.max())))
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true")
    dark = int(off_diagonal.max()) * 0.6
    for row, column in np.ndindex(*matrix.shape):
        if count := int(matrix[row, column]):
            colour = "grey" if row == column else "white" if count > dark else "black"
            size = 8 if len(classes) <= 10 else 6
            # The text is inside the axes, so the layout skips it; measuring it takes a tenth of the figure's time.
            axes.text(column, row, str(count), ha="center", va="center", fontsize=size, color=colour, in_layout=False)


def _draw_pairs(axes: Axes, matrix: Tensor, classes: Sequence[str]) -> None:
    """Draw how often the pairs of classes that are confused most often are confused."""
    counts = matrix.clone().fill_diagonal_(0).flatten()
    most = [index for index in counts.argsort(descending=True, stable=True)[:PAIRS].tolist() if counts[index]]
    names = [f"{classes[index // len(classes)]} {ARROW} {classes[index % len(classes)]}" for index in most]
    axes.barh(range(len(most)), counts[most].numpy(), color="firebrick")
    axes.set_yticks(range(len(most)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="images", title=f"most frequent errors: true {ARROW} predicted")
