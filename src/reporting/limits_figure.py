"""The figure of what limits learning rate and batch size."""

import math
from collections.abc import Iterator
from itertools import cycle

from matplotlib.figure import Figure

from src.reporting import escapes
from src.reporting.figures import COLOURS, MARKERS, PLAIN, panels
from src.reporting.limits import Limits

# McCandlish et al. 2018: the average over a training; its order of magnitude, since the network is another one.
PUBLISHED = {"mnist": 900}


def limits_figures(limits: Limits) -> Iterator[tuple[str, str, Figure]]:
    """Yield the name, caption and figure of the limits if they were measured."""
    if limits:
        what = "Gradient noise scale, critical and best learning rate by batch size"
        yield (
            "limits",
            f"{what}, at the best lr of each optimizer and batch size; medians over the epochs",
            draw(limits),
        )


def draw(limits: Limits) -> Figure:
    """Draw noise scale and critical lr against the batch size, at the best lr of each optimizer and batch size."""
    grid = limits.grid
    figure, (left, right) = panels(2, height=4.2)
    for optimizer, colour, marker in zip(grid.optimizers, cycle(COLOURS), cycle(MARKERS)):
        best = [cell for batch in grid.batch_sizes if (cell := grid.best(optimizer, batch)) and cell in limits.cells]
        batches, found = [cell.key[1] for cell in best], [limits.cells[cell] for cell in best]
        name = escapes.matplotlib(optimizer)
        scales = [each.noise_scale if math.isfinite(each.noise_scale) else math.nan for each in found]
        left.plot(batches, scales, color=colour, marker=marker, label=name)
        critical = [each.critical_lr if math.isfinite(each.critical_lr) else math.nan for each in found]
        right.plot(batches, critical, color=colour, marker=marker, label=f"{name}, critical")
        right.plot(batches, [cell.key[2] for cell in best], color=colour, linestyle=":", label=f"{name}, best")
    left.plot(grid.batch_sizes, grid.batch_sizes, color="grey", linewidth=0.8, label="equal to the batch size")
    if published := PUBLISHED.get(str(grid.first.data)):
        left.axhline(
            published, color="grey", linestyle="--", linewidth=0.8, label=f"McCandlish et al.: about {published}"
        )
    for axis, title in ((left, "gradient noise scale"), (right, "learning rate")):
        axis.set(title=title, xlabel="batch size", xscale="log", yscale="log")
        axis.set_xticks(grid.batch_sizes, [str(batch) for batch in grid.batch_sizes])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter(PLAIN)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False, fontsize=8)
    return figure
