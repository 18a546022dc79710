"""Figures of a grid: loss curves, lr sensitivity, loss by epochs and by updates, time to an accuracy."""

import math
from collections.abc import Iterator
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullFormatter

from src.reporting import escapes
from src.reporting.grid import Cell, Grid, with_divergence
from src.reporting.statistics import counted

# Okabe & Ito's palette, distinguishable for the colour-blind and, with the line styles, in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")
TICKS = (0.1, 0.5, 0.9, 0.95, 0.98, 0.99, 0.997)  # accuracies on a logit scale
LEAST, MOST = 0.03, 0.9995
HIGHEST = 10.0  # nats; guessing among ten classes gives 2.3; the losses of diverged runs would flatten the other curves
NAMED = 12  # lines that fit into a legend
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # 0.1
TARGETS = (0.97, 0.985)  # test accuracies of the time-to-accuracy figure


def figures(grid: Grid) -> Iterator[tuple[str, str, Figure]]:
    """Yield the name, caption and figure of each."""
    for optimizer in grid.optimizers:
        caption = (
            f"{optimizer}: loss after each epoch. Mean and range of the finished runs; diverged runs are thin lines"
        )
        if any(len(cell.curves) for key, cell in grid.cells.items() if key[0] == optimizer):
            yield f"loss {optimizer}", caption, loss_curves(grid, optimizer)
    if len(grid.lrs) > 1:
        caption = "Final test accuracy (logit scale) by lr, with 95 % intervals. "
        caption += "Crosses: cells with diverged runs, which count as guessing"
        if grid.chosen_on != "test":
            caption += f". The best lr is chosen on the {grid.chosen_on} set"
        yield "lr sensitivity", caption, lr_sensitivity(grid)
    chosen = f"At the best learning rate, chosen on the {grid.chosen_on} set"
    yield "epochs and updates", f"{chosen}: equal epochs are not equal updates", epochs_and_updates(grid)
    if reaches_target(grid):
        marks = "Points: runs; bars: their medians; beyond the grey line: never reached"
        yield "time to accuracy", f"{chosen}: {time_caption(grid)}. {marks}", time_to_accuracy(grid)


def reaches_target(grid: Grid) -> bool:
    """Return True if any run reached the lowest accuracy of the time-to-accuracy figure."""
    return any(math.isfinite(t) for cell in grid.cells.values() for t in seconds_to(cell, TARGETS[0]).values())


def time_caption(grid: Grid) -> str:
    """Return what the times to an accuracy are, and under which conditions they mean something."""
    caption = "training time to a test accuracy, if the machine was otherwise idle"
    if grouped := sum(int((cell.runs.group_size > 1).sum()) for cell in grid.cells.values()):
        caption += f". {counted(grouped, 'run')} trained in groups; a run's time is its share of the group's"
    return caption


def loss_curves(grid: Grid, optimizer: str) -> Figure:
    """Draw training and test loss, a line per cell: colours are lrs, line styles batch sizes."""
    figure, axes = panels(2, sharey=True)
    for split, axis in zip(("train", "test"), axes, strict=True):
        for (label, batch, lr), cell in grid.cells.items():
            if label == optimizer and len(cell.curves):
                _draw(axis, cell, f"{split}_loss", f"lr {lr:g}, batch {batch}", _colour(grid, lr), _style(grid, batch))
        axis.set(title=escapes.matplotlib(f"{optimizer}, {split}"), xlabel="epoch")
    _of_losses(axes[0], "loss (nats)")
    return _with_legend(figure, axes[0])


def lr_sensitivity(grid: Grid) -> Figure:
    """Draw a panel per optimizer, a line per batch size. A best lr on the grid's edge is noted in the title."""
    figure, axes = panels(len(grid.optimizers), sharey=True)
    for optimizer, axis in zip(grid.optimizers, axes, strict=True):
        on_edge = set()
        for batch, colour, marker in zip(grid.batch_sizes, cycle(COLOURS), cycle(MARKERS)):
            cells = {lr: grid.cells[optimizer, batch, lr] for lr in grid.lrs if (optimizer, batch, lr) in grid.cells}
            estimates = {lr: e for lr, cell in cells.items() if (e := cell.estimate("test_accuracy"))}
            values = np.array([e.value for e in estimates.values()])
            low, high = (np.array([getattr(e, bound) for e in estimates.values()]) for bound in ("low", "high"))
            errors = np.nan_to_num([values - np.maximum(low, LEAST), np.minimum(high, MOST) - values]).clip(0)
            label = f"batch {batch}"
            axis.errorbar(list(estimates), values, errors, capsize=3, color=colour, marker=marker, label=label)
            diverged = [lr for lr, cell in cells.items() if cell.diverged]
            axis.plot(diverged, [0.03] * len(diverged), "x", color=colour, transform=axis.get_xaxis_transform())
            best = grid.best(optimizer, batch)
            if best and len(cells) > 1 and best.key[2] in (max(cells), min(cells)):
                on_edge.add(f"{best.key[2]:g}")
        warning = f"\nbest on the grid's edge: {', '.join(sorted(on_edge))}" if on_edge else ""
        axis.set(title=escapes.matplotlib(f"{optimizer}{warning}"), xlabel="learning rate", xscale="log")
        axis.xaxis.set_major_formatter(PLAIN)
        axis.set(yscale="logit", ylim=(LEAST, MOST))
        axis.set_yticks(TICKS, [f"{100 * tick:g}" for tick in TICKS])
        axis.minorticks_off()
    axes[0].set_ylabel("test accuracy (%)")
    return _with_legend(figure, axes[0])


def epochs_and_updates(grid: Grid) -> Figure:
    """Draw the training loss of the best cells by epoch, by update, and by gradient if an update takes several."""
    several = any(cell.gradients_an_update > 1 for cell in grid.best_cells)
    costs = ["epoch", "updates", *(["gradients"] if several else [])]
    figure, axes = panels(len(costs), sharey=True)
    for optimizer, colour in zip(grid.optimizers, cycle(COLOURS)):
        for batch in grid.batch_sizes:
            cell = grid.best(optimizer, batch)
            if cell:
                for axis, x in zip(axes, costs, strict=True):
                    _draw(axis, cell, "train_loss", cell.name, colour, _style(grid, batch), x)
    axes[0].set(xlabel="epochs")
    for axis, x in zip(axes[1:], costs[1:], strict=True):
        axis.set(xlabel=x, xscale="log")
        _label_plainly(axis.xaxis, 30)
    _of_losses(axes[0], "training loss (nats)")
    return _with_legend(figure, axes[0])


def seconds_to(cell: Cell, target: float) -> dict[str, float]:
    """Return each run's training seconds until its test accuracy first reached `target`; infinite if never.

    A diverged run never did.
    """
    seconds = cell.by_epoch("seconds").cumsum()
    epochs = cell.reached(target).items()
    return {run: math.inf if epoch is None else float(seconds.loc[epoch, run]) for run, epoch in epochs}


def time_to_accuracy(grid: Grid) -> Figure:
    """Draw a panel per target, a row for the best cell of each optimizer and batch size."""
    rows = grid.best_cells
    figure, axes = panels(len(TARGETS), sharey=True, height=1.4 + 0.35 * len(rows))
    for target, axis in zip(TARGETS, axes, strict=True):
        times = [list(seconds_to(cell, target).values()) for cell in rows]
        longest = max((t for each in times for t in each if math.isfinite(t)), default=1.0)
        axis.axvline(1.1 * longest, color="0.7", linewidth=1)
        for row, each in enumerate(times):
            points = [t if math.isfinite(t) else 1.18 * longest for t in each]
            axis.plot(points, [row] * len(points), "o", color=COLOURS[0], alpha=0.6)
            axis.plot(np.median(points), row, "|", color=COLOURS[1], markersize=18, markeredgewidth=2)
        axis.set(title=f"to {100 * target:g} %", xlabel="seconds of training", xlim=(0, 1.25 * longest))
    axes[0].set_yticks(range(len(rows)), [escapes.matplotlib(cell.caption) for cell in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def panels(number: int, sharey: bool = False, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Return a figure with a row of panels."""
    figure = Figure(figsize=(2.2 + 2.9 * number, height), layout="constrained")
    axes = figure.subplots(1, number, sharey=sharey, squeeze=False)[0]
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _label_plainly(axis: Axis, room: float) -> None:
    """Label a logarithmic axis with plain numbers: powers of ten are formulas, which take longer than a curve.

    There is room for labels at 1, 2 and 5 times a power of ten if the axis, with all its data, spans at most a factor
    of `room`.
    """
    low, high = axis.get_view_interval()
    logarithmic = LogLocator(subs=(1, 2, 5) if high <= room * low else (1,))
    axis.set_major_locator(AutoLocator() if high <= 4 * low else logarithmic)
    axis.set_major_formatter(PLAIN)
    axis.set_minor_formatter(NullFormatter())


def _draw(axis: Axes, cell: Cell, figure: str, label: str, colour: str, style: str, x: str = "epoch") -> None:
    """Draw the mean and range of the finished runs' curves, and each diverged run as a thin line."""
    curves = cell.by_epoch(figure)
    at = curves.index if x == "epoch" else cell.by_epoch(x).mean(axis=1)
    finished = curves[cell.finished.index]
    name = escapes.matplotlib(with_divergence(label, cell))
    axis.plot(at, finished.mean(axis=1), style, color=colour, label=name, linewidth=1.5)
    axis.fill_between(at, finished.min(axis=1), finished.max(axis=1), color=colour, alpha=0.15, linewidth=0)
    axis.plot(at, curves.drop(columns=finished.columns), style, color=colour, linewidth=0.6)


def _of_losses(axis: Axes, label: str) -> None:
    """Make the shared loss axis logarithmic, and label it."""
    axis.set(yscale="log", ylabel=label)
    axis.set_ylim(top=min(axis.get_ylim()[1], HIGHEST))
    _label_plainly(axis.yaxis, 300)


def _colour(grid: Grid, lr: float) -> str:
    return COLOURS[grid.lrs.index(lr) % len(COLOURS)]


def _style(grid: Grid, batch: int) -> str:
    return STYLES[grid.batch_sizes.index(batch) % len(STYLES)]


def _with_legend(figure: Figure, axis: Axes) -> Figure:
    """Add a legend below the panels, of at most `NAMED` lines."""
    handles, names = axis.get_legend_handles_labels()
    handles, names = (
        handles[:NAMED],
        [*names[: NAMED - 1], f"and {len(names) - NAMED + 1} more"] if len(names) > NAMED else names,
    )
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(3, max(1, len(names))), frameon=False, fontsize=8
    )
    return figure
