"""What limits the learning rates and batch sizes of a grid, as measured by `probe`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from src.probe.noise_scale import noise_scale
from src.reporting.grid import Cell, Grid
from src.reporting.heat_map import colours

AT_LR = 1 / 3  # of the critical lr, from which it counts as limited by it
AT_BATCH = 1.0  # of the noise scale: half of the gradient's square is signal
LIMITS = ("noise", "noise and the critical lr", "the critical lr", "neither")
DECADES = 2  # of the colours, above and below 1


@dataclass(frozen=True)
class Share:
    """A cell's lr or batch size as a share of its limit, for display; NaN if it was not measured."""

    value: float

    @property
    def text(self) -> str:
        if math.isnan(self.value):
            return "\N{EM DASH}"
        if 1e-3 <= self.value < 100:
            return f"{self.value:.2g}"
        return "<0.001" if self.value < 1 else f"{min(self.value, 9999):.0f}"

    @property
    def style(self) -> str:
        """CSS: blue far below the limit, white at it, red beyond."""
        if math.isnan(self.value):
            return ""
        decades = math.log10(self.value) if self.value > 0 else -math.inf
        background, ink = colours("RdBu_r", 0.5 + min(max(decades / DECADES, -1), 1) / 2)
        return f"background-color: {background}; color: {ink}"


@dataclass(frozen=True)
class Measured:
    """Medians over a cell's epochs, of averages over its runs."""

    lr: Share  # of the critical learning rate
    batch: Share  # of the gradient noise scale
    sharpness: Share  # of the stability limit
    noise_scale: float
    critical_lr: float

    @property
    def limit(self) -> str:
        """By which of `LIMITS` the cell was limited."""
        noisy = self.batch.value < AT_BATCH
        if self.lr.value >= AT_LR:
            return "noise and the critical lr" if noisy else "the critical lr"
        return "noise" if noisy else "neither"


def measured(cell: Cell) -> Measured | None:
    """Return what `probe` measured in a cell's runs, None if there was no probe.

    tr(Sigma) and |G|^2 are averaged over runs before they are divided; so are the inverse critical learning rates.
    """
    curves = cell.curves
    if "critical_lr" not in curves or curves.critical_lr.isna().all():
        return None
    columns = ["lr", "batch_size", "critical_lr", "gradient_noise", "gradient_squared"]
    with np.errstate(divide="ignore"):
        shares = curves[columns].assign(lr_share=curves.lr / curves.critical_lr)
    if "sharpness" in curves:
        shares = shares.assign(sharpness=curves.sharpness / curves.stability_limit)
    epochs = shares.replace(math.inf, 1e9).groupby(level="epoch").mean()
    scales = [noise_scale(*each) for each in epochs[["gradient_noise", "gradient_squared"]].to_numpy()]
    batch = [size / scale for size, scale in zip(epochs.batch_size, scales, strict=True)]
    lr_share = _median(epochs.lr_share)
    return Measured(
        Share(lr_share),
        Share(_median(batch)),
        Share(_median(epochs.sharpness) if "sharpness" in epochs else math.nan),
        _median(scales),
        _median(epochs.lr) / lr_share if lr_share else math.inf,
    )


def _median(values: "list[float] | pd.Series") -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


@dataclass(frozen=True, eq=False)
class Limits:
    """The limits of a grid's cells; empty if none was probed."""

    grid: Grid

    @cached_property
    def cells(self) -> dict[Cell, Measured]:
        found = {cell: measured(cell) for cell in self.grid.cells.values()}
        return {cell: each for cell, each in found.items() if each is not None}

    def __bool__(self) -> bool:
        return bool(self.cells)

    @property
    def maps(self) -> list[tuple[str, str]]:
        """Attribute and title of each map."""
        sharp = any(not math.isnan(each.sharpness.value) for each in self.cells.values())
        maps = [("lr", "lr / critical lr"), ("batch", "batch size / noise scale")]
        return [*maps, ("sharpness", "sharpness / stability limit")] if sharp else maps

    @property
    def sentences(self) -> Iterator[str]:
        """Say for each optimizer what limited it at the best lr of each batch size."""
        for optimizer in self.grid.optimizers:
            at: dict[str, list[int]] = {limit: [] for limit in LIMITS}
            for batch in self.grid.batch_sizes:
                best = self.grid.best(optimizer, batch)
                if best and best in self.cells:
                    at[self.cells[best].limit].append(batch)
            if said := [f"by {limit} at batch {_listed(batches)}" for limit, batches in at.items() if batches]:
                yield f"{optimizer}, at the best lr of each batch size: limited {', '.join(said)}."

    @property
    def rows(self) -> Iterator[dict[str, object]]:
        """The rows of limits.csv."""
        for cell, each in self.cells.items():
            optimizer, batch, lr = cell.key
            yield {
                "optimizer": optimizer, "batch_size": batch, "lr": lr, "critical_lr": each.critical_lr,
                "noise_scale": each.noise_scale, "lr_share": each.lr.value, "batch_share": each.batch.value,
                "sharpness_share": each.sharpness.value, "diverged": cell.diverged,
            }  # fmt: skip


def _listed(batches: list[int]) -> str:
    *most, last = map(str, batches)
    return f"{', '.join(most)} and {last}" if most else last
