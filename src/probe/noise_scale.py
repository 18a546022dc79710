"""The gradient noise scale: the batch size at which a gradient's noise equals its signal."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a report needs no torch
    from torch import Tensor


@dataclass(frozen=True)
class GradientMoments:
    """Estimates of tr(Sigma), the trace of the covariance of the images' gradients, and of |G|^2.

    G is the mean gradient of the distribution from which the images are drawn. Both are unbiased, so the second may be
    negative.
    """

    noise: float
    squared: float


def moments(gradients: "Iterable[Tensor]", images: int) -> GradientMoments:
    """Estimate the moments from the gradients (P,) of two or more chunks of the data, each a mean over `images`.

    The gradient of b images has the expected square |G|^2 + tr(Sigma) / b; two sizes, a chunk and all chunks, give both
    terms (McCandlish, Kaplan, Amodei et al. 2018, appendix A.1).
    """
    chunks, squares, total = 0, 0.0, None
    for gradient in gradients:
        chunks, squares = chunks + 1, squares + _square(gradient)
        total = gradient if total is None else total + gradient
    assert total is not None
    of_chunks, of_all = squares / chunks, _square(total) / chunks**2
    noise = (of_chunks - of_all) / (1 / images - 1 / (chunks * images))
    return GradientMoments(noise, (chunks * of_all - of_chunks) / (chunks - 1))


def noise_scale(noise: float, squared: float) -> float:
    """Return B_simple = tr(Sigma) / |G|^2, in images, from averages of the two.

    It is infinite if the signal is lost in the noise, and not a number if there is neither.
    """
    if math.isnan(noise) or math.isnan(squared) or noise <= 0:
        return math.nan
    return noise / squared if squared > 0 else math.inf


def _square(gradient: "Tensor") -> float:
    exact = gradient.double()
    return float(exact @ exact)
