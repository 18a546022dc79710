"""The grid as a heat map: accuracies as colours on a logit scale, for each split, over all seeds and for each."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from matplotlib import colormaps
from matplotlib.colors import Colormap, to_hex
from scipy.special import expit, logit

from src.reporting import tables
from src.reporting.grid import Cell, Grid, divergence

HIGHEST = 0.9999  # accuracies are shown up to here: the logit of 1 is infinite
RAMP = colormaps["viridis"]  # ordered by brightness, so also for people with a colour vision deficiency
ALL = "all"  # seeds


@dataclass(frozen=True)
class Tile:
    """What a cell shows for one split and one seed, or `all`: a text, the exact accuracy and colours."""

    split: str
    seed: str
    text: str
    accuracy: float  # NaN if no run finished
    background: str
    ink: str  # black or white, whichever contrasts more: at least 4.5 to 1


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Tiles of a grid, and the marks of its cells."""

    grid: Grid

    @cached_property
    def range(self) -> dict[str, tuple[float, float]]:
        """The logits of the lowest and highest accuracy shown, of a cell or of a finished run, by split."""
        found = {}
        for split in self.grid.splits:
            figure = f"{split}_accuracy"
            values = [
                value
                for cell in self.grid.cells.values()
                if len(cell.finished)
                for value in (*cell.finished[figure], statistics.fmean(cell.values(figure).values()))
            ]
            found[split] = (_clamped_logit(min(values)), _clamped_logit(max(values))) if values else (0.0, 0.0)
        return found

    def bounds(self, split: str) -> tuple[str, str]:
        """Return the accuracies of the ramp's first and last colour in percent."""
        low, high = (100 * expit(bound) for bound in self.range[split])
        return f"{low:.2f}", f"{high:.2f}"

    @property
    def chance(self) -> float:
        """The accuracy up to which a cell is at chance."""
        return next(cell.chance for cell in self.grid.cells.values() if len(cell.runs))

    @property
    def ramp(self) -> list[str]:
        """Colours from the lowest accuracy to the highest."""
        return [to_hex(RAMP(step / 8)) for step in range(9)]

    def tiles(self, cell: Cell) -> Iterator[Tile]:
        """Yield a cell's tile of each split, over all seeds first, then for each seed that finished."""
        for split in self.grid.splits:
            figure = f"{split}_accuracy"
            estimate = cell.estimate(figure)
            mean = estimate.value if estimate else math.nan
            yield self._tile(split, ALL, tables.accuracy(cell, figure) or "\N{EM DASH}", mean)
            values = dict(zip(cell.finished.seed, cell.finished[figure], strict=True))
            for seed in self.grid.seeds:
                value = values.get(seed, math.nan)
                yield self._tile(split, str(seed), f"{100 * value:.2f}" if seed in values else "\N{EM DASH}", value)

    def marks(self, cell: Cell) -> list[str]:
        """Name what a cell's colour does not show: diverged or missing runs, and an accuracy at chance."""
        marks = [f"\N{MULTIPLICATION SIGN} {divergence(cell)}"] if cell.diverged else []
        if cell.at_chance:
            marks.append("at chance")
        if cell.missing:
            marks.append(f"{len(cell.missing)} of {len(cell.missing) + len(cell.runs)} missing")
        return marks

    def _tile(self, split: str, seed: str, text: str, accuracy: float) -> Tile:
        if math.isnan(accuracy):
            return Tile(split, seed, text, accuracy, "transparent", "inherit")
        low, high = self.range[split]
        place = (_clamped_logit(accuracy) - low) / (high - low) if high > low else 1.0
        return Tile(split, seed, text, accuracy, *colours(RAMP, place))


def colours(ramp: str | Colormap, place: float) -> tuple[str, str]:
    """Return the colour at a place, 0 to 1, of a ramp, and that of a text on it, black or white."""
    colour = colormaps.get_cmap(ramp)(place)
    return to_hex(colour), "#000" if _luminance(colour[:3]) > 0.179 else "#fff"


def _clamped_logit(accuracy: float) -> float:
    return float(logit(min(max(accuracy, 1 - HIGHEST), HIGHEST)))


def _luminance(colour: tuple[float, ...]) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2); black and white contrast equally at 0.179."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
