"""The figure of range tests: the loss by lr, a panel per optimizer, a line per batch size."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from src.config.settings import optimizer_order
from src.range_test.points import Numbers, smoothed
from src.range_test.result import Result
from src.reporting import escapes
from src.reporting.figures import COLOURS, panels

HEADROOM = 1.5  # the loss axis ends at this factor of the highest first loss; losses that diverge know no end


def draw(results: Sequence[Result]) -> Figure:
    """Draw the rows of one data set and model."""
    optimizers = sorted({result.row.names.optimizer for result in results}, key=optimizer_order)
    figure, axes = panels(len(optimizers), sharey=True, height=3.9)
    labels = list(dict.fromkeys(_label(result) for result in results))
    colours = dict(zip(labels, cycle(COLOURS)))
    for optimizer, axis in zip(optimizers, axes, strict=True):
        of_it = [result for result in results if result.row.names.optimizer == optimizer]
        for place, result in enumerate(of_it):
            label, colour = _label(result), colours[_label(result)]
            curves = [smoothed(losses, len(result.lrs)) for losses in result.losses]
            for curve in curves if len(curves) > 1 else ():
                axis.plot(result.lrs[: len(curve)], curve, color=colour, linewidth=0.6, alpha=0.4)
            mean = _mean(curves)
            axis.plot(result.lrs[: len(mean)], mean, color=colour, linewidth=1.5, label=escapes.matplotlib(label))
            # Bars below one another, since bands would overlap.
            height = 0.03 + 0.03 * (len(of_it) - 1 - place)
            axis.plot(result.interval, [height] * 2, color=colour, linewidth=4, transform=axis.get_xaxis_transform())
        axis.set(title=escapes.matplotlib(optimizer), xlabel="learning rate", xscale="log")
    first = [float(losses[0]) for result in results for losses in result.losses if np.isfinite(losses[0])]
    axes[0].set(ylabel="smoothed loss (nats); bars: lr to try", ylim=(0, HEADROOM * max(first, default=1.0)))
    handles, names = axes[0].get_legend_handles_labels()
    for axis in axes[1:]:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            if name not in names:
                handles.append(handle)
                names.append(name)
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)), frameon=False, fontsize=8)
    return figure


def _label(result: Result) -> str:
    return f"batch {result.row.settings.batch_size}{result.row.label}"


def _mean(curves: Sequence[Numbers]) -> Numbers:
    """Return the mean over seeds, as far as all of them have losses."""
    shortest = min(map(len, curves))
    return np.mean([curve[:shortest] for curve in curves], axis=0)
