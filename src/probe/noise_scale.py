"""The gradient noise scale: the batch size at which a gradient's noise equals its signal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

CHUNKS = 8  # gradients that an estimate compares


@dataclass(frozen=True)
class GradientMoments:
    """Unbiased estimates from one set of weights: the trace of the covariance of the images' gradients, and |G|^2.

    G is the gradient of the mean loss over all images; the estimate of its square may be negative.
    """

    noise: float
    squared: float


def moments(gradients: Sequence[Sequence[Tensor]], images: int) -> GradientMoments:
    """Estimate the moments from the gradients of separate chunks of the data, each a mean over `images` images.

    The gradient of b images has the expected square |G|^2 + tr(Sigma) / b; two sizes, a chunk and all chunks, give both
    terms (McCandlish, Kaplan, Amodei et al. 2018, appendix A.1).
    """
    chunks = len(gradients)
    of_chunks = sum(_square(gradient) for gradient in gradients) / chunks
    mean = [sum(parts[1:], parts[0]) / chunks for parts in zip(*gradients, strict=True)]
    of_all = _square(mean)
    noise = (of_chunks - of_all) / (1 / images - 1 / (chunks * images))
    return GradientMoments(noise, (chunks * of_all - of_chunks) / (chunks - 1))


def noise_scale(noise: float, squared: float) -> float:
    """Return B_simple = tr(Sigma) / |G|^2, in images, from averages of the two; infinite if the signal is lost."""
    if math.isnan(noise) or math.isnan(squared):
        return math.nan
    return noise / squared if squared > 0 else math.inf


def _square(gradient: Sequence[Tensor]) -> float:
    return sum(float(part.double().square().sum()) for part in gradient)
