"""What limits the learning rates and batch sizes of a grid, as measured by `probe`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from src.probe.noise_scale import noise_scale
from src.reporting.grid import Cell, Grid, divergence
from src.reporting.heat_map import colours

AT_LR = 0.25  # of the critical lr: a rule of thumb, from the best lrs of large batches (docs/limits.md)
AT_BATCH = 1.0  # of the noise scale: half of the gradient's square is signal
LIMITS = ("noise", "noise and the critical lr", "the critical lr", "neither noise nor the critical lr")
READ = (
    *("lr", "probed_lr", "batch_size", "critical_lr"),
    *("gradient_noise", "gradient_squared", "sharpness", "stability_limit"),
)
DECADES = 2  # of the colours, above and below 1


@dataclass(frozen=True)
class Share:
    """A cell's lr or batch size as a share of its limit, for display; NaN if it was not measured."""

    value: float

    @property
    def text(self) -> str:
        if math.isnan(self.value):
            return "\N{EM DASH}"
        if 1e-3 <= self.value < 99.5:
            return f"{self.value:.2g}"
        return "<0.001" if self.value < 1 else f"{self.value:.0f}" if self.value < 9999 else ">9999"

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
    """Medians over a cell's epochs and runs; of an even number, those of the two in the middle that limit more."""

    lr: Share  # of the critical learning rate
    batch: Share  # of the gradient noise scale
    sharpness: Share  # of the stability limit
    noise_scale: float
    critical_lr: float

    @property
    def limit(self) -> str:
        """By which of `LIMITS` the cell was limited, empty if it was not measured."""
        if math.isnan(self.lr.value) or math.isnan(self.batch.value):
            return ""
        noisy = self.batch.value < AT_BATCH
        if self.lr.value >= AT_LR:
            return "noise and the critical lr" if noisy else "the critical lr"
        return "noise" if noisy else "neither noise nor the critical lr"


def measured(cell: Cell) -> Measured | None:
    """Return what `probe` measured in a cell's runs, None if there was no probe."""
    curves = cell.curves.reindex(columns=[*cell.curves.columns, *(key for key in READ if key not in cell.curves)])
    if curves.critical_lr.isna().all():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        lr_share = curves.probed_lr.fillna(curves.lr) / curves.critical_lr
        sharpness = curves.sharpness / curves.stability_limit
        # tr(Sigma) and |G|^2 are averaged over runs before they are divided.
        epochs = curves[["batch_size", "gradient_noise", "gradient_squared"]].groupby(level="epoch").mean()
        scales = pd.Series([noise_scale(*each) for each in epochs.iloc[:, 1:].to_numpy()], epochs.index)
        batch_share = epochs.batch_size / scales
    return Measured(
        Share(_median(lr_share, "higher")),
        Share(_median(batch_share, "higher")),
        Share(_median(sharpness, "higher")),
        _median(scales, "lower"),
        _median(curves.critical_lr, "lower"),
    )


def _median(values: pd.Series, method: Literal["lower", "higher"]) -> float:
    known = values.dropna()
    return float(np.quantile(known, 0.5, method=method)) if len(known) else math.nan


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
            at: dict[str, list[str]] = {limit: [] for limit in LIMITS}
            for batch in self.grid.batch_sizes:
                best = self.grid.best(optimizer, batch)
                if best and best in self.cells and (limit := self.cells[best].limit):
                    tried = [cell.key[2] for cell in self.grid.tried(optimizer, batch)]
                    edge = ["the largest lr tried"] if len(tried) > 1 and best.key[2] == max(tried) else []
                    notes = [*edge, *([divergence(best)] if best.diverged else [])]
                    at[limit].append(f"{batch} ({', '.join(notes)})" if notes else f"{batch}")
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


def _listed(batches: list[str]) -> str:
    *most, last = batches
    return f"{', '.join(most)} and {last}" if most else last
