"""Runs arranged as a grid of cells: by optimizer, batch size and lr, over seeds."""

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import get_args

import numpy as np
import pandas as pd

from src.config.settings import optimizer_order
from src.reporting.current import newest_files, on_other_code
from src.reporting.statistics import Estimate, binomial_interval, counted, mean_interval
from src.runs.dataframe import Frames
from src.runs.record import ENDED, Split, chance

Key = tuple[str, int, float]  # an optimizer's label, a batch size, an lr

# Default values, as in conf/, which a title does not mention.
USUAL = {
    "normalize": "half",
    "augment": "none",
    "test_share": 0.0,
    "source.grey": False,
    "model.init": "torch",
    "model.activation": "relu",
    "model.pooling": "max",
    "model.padding": 2,
}
SPARSE = 3  # places per cell
OF_THE_DATA = ("normalize", "augment", "test_share")


@dataclass(frozen=True, eq=False)
class Cell:
    """Runs that differ only in seed, and the seeds whose runs were requested or begun but have not ended."""

    key: Key
    runs: pd.DataFrame  # ended runs, indexed by directory, sorted by seed
    curves: pd.DataFrame
    missing: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The key in words."""
        optimizer, batch, lr = self.key
        return f"{optimizer}, batch {batch}, lr {lr:g}"

    @property
    def caption(self) -> str:
        """The name, and how many runs diverged."""
        return with_divergence(self.name, self)

    @cached_property
    def finished(self) -> pd.DataFrame:
        return self.runs[self.runs.status == "finished"]

    @property
    def diverged(self) -> int:
        return int((self.runs.status == "diverged").sum())

    @cached_property
    def counted(self) -> pd.DataFrame:
        """The ended runs as they count: a diverged run has the accuracies of guessing, and the loss ln(classes).

        Without it, a setting would be judged by the seeds that it did not lose.
        """
        finished, uniform = self.runs.status == "finished", np.log(self.runs.classes.astype(float))
        accuracies = {
            f"{split}_accuracy": self.runs[f"{split}_accuracy"].where(finished, self.runs[f"{split}_guess"])
            for split in get_args(Split)
        }
        losses = {f"{split}_loss": self.runs[f"{split}_loss"].where(finished, uniform) for split in get_args(Split)}
        return self.runs.assign(**accuracies, **losses)

    def values(self, figure: str) -> dict[int, float]:
        """Return a final figure of each ended run as it counts, by seed."""
        return dict(zip(self.counted.seed, self.counted[figure], strict=True))

    def estimate(self, figure: str) -> Estimate | None:
        """Return a figure's mean and interval over the ended runs as they count, None if no run finished.

        For the test accuracy of a single run, the interval is that of the number of test images.
        """
        values = list(self.values(figure).values())
        if not len(self.finished):
            return None
        if len(values) == 1 and figure == "test_accuracy":
            return binomial_interval(values[0], self.images)
        return mean_interval(values)

    @property
    def images(self) -> int:
        """Number of test images."""
        return int(self.runs.test_images.iloc[0])

    def reached(self, target: float) -> dict[str, int | None]:
        """Return the epoch in which each ended run's test accuracy first reached `target`.

        None if never, and for a diverged run, which did not keep what it reached.
        """
        accuracy = self.by_epoch("test_accuracy")[self.finished.index]
        first = {run: column.index[column >= target][:1] for run, column in accuracy.items()}
        return {str(run): int(first[run][0]) if len(first.get(run, ())) else None for run in self.runs.index}

    @property
    def chance(self) -> float:
        """The test accuracy up to which its runs guess; a diverged run does."""
        first = self.runs.iloc[0]
        return max(chance(int(first.classes)), float(first.test_guess))

    @property
    def at_chance(self) -> bool:
        """True if some of its runs finished, and its runs guess, on average."""
        return bool(len(self.finished)) and mean(self.values("test_accuracy").values()) <= self.chance

    @property
    def gradients_an_update(self) -> float:
        """How many gradients an update takes: SAM two, LBFGS several."""
        return float((self.runs.gradients / self.runs.updates).median())

    def by_epoch(self, figure: str) -> pd.DataFrame:
        """Return a figure's curves: a row per epoch, a column per finished or diverged run."""
        return self.curves[figure].unstack("directory")


def divergence(*cells: Cell) -> str:
    """Say how many runs of these cells diverged, `1 of 20 diverged`; empty if none did."""
    diverged = sum(cell.diverged for cell in cells)
    return f"{diverged:,} of {sum(len(cell.runs) for cell in cells):,} diverged" if diverged else ""


def with_divergence(text: str, *cells: Cell) -> str:
    """Return the text, and in brackets how many runs of these cells diverged, if any."""
    return f"{text} ({lost})" if (lost := divergence(*cells)) else text


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells with the same data set, network and number of epochs.

    All choices among them, such as the best lr, are made on the validation set, so that test accuracies are unbiased;
    without a validation set, on the test set.
    """

    title: str
    digest: str  # of the settings that its runs have in common
    first: pd.Series  # the row of one of its runs
    cells: dict[Key, Cell]
    validates: bool  # whether its runs hold validation images out
    data_sha256: str | None = None  # of the data files
    on_other_files: tuple[str, ...] = ()  # directories of ended runs on other data files, which count as missing
    on_other_code: tuple[str, ...] = ()  # likewise, by other code of the user's own

    @property
    def is_sparse(self) -> bool:
        """True if most combinations of its settings have no runs, as after a search."""
        return len(self.cells) < len(self.optimizers) * len(self.batch_sizes) * len(self.lrs) / SPARSE

    @property
    def splits(self) -> list[str]:
        """Names of the splits of the data."""
        return ["train", "validation", "test"] if self.validates else ["train", "test"]

    @property
    def chosen_on(self) -> str:
        """The split on which choices are made."""
        return "validation" if self.validates else "test"

    def score(self, cell: Cell) -> float:
        """Return a cell's mean accuracy on the split on which choices are made."""
        return float(cell.counted[f"{self.chosen_on}_accuracy"].mean())

    @cached_property
    def optimizers(self) -> list[str]:
        return list(dict.fromkeys(optimizer for optimizer, _, _ in self.cells))

    @cached_property
    def batch_sizes(self) -> list[int]:
        return sorted({batch for _, batch, _ in self.cells})

    @cached_property
    def lrs(self) -> list[float]:
        return sorted({lr for _, _, lr in self.cells}, reverse=True)

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({int(seed) for cell in self.cells.values() for seed in (*cell.runs.seed, *cell.missing)})

    def best(self, optimizer: str, batch_size: int) -> Cell | None:
        """Return the cell with the highest score among those that can be chosen, or None."""
        return self.highest(filter(self.can_be_chosen, self.tried(optimizer, batch_size)))

    def tried(self, optimizer: str, batch_size: int) -> list[Cell]:
        """Return the cells that have ended runs."""
        return [cell for key, cell in self.cells.items() if key[:2] == (optimizer, batch_size) and len(cell.runs)]

    def can_be_chosen(self, cell: Cell) -> bool:
        """Return True if the cell has finished runs; diverged ones lower its score."""
        return bool(len(cell.finished)) and not math.isnan(self.score(cell))

    @cached_property
    def best_cell(self) -> Cell | None:
        """The cell with the highest score."""
        return self.highest(self.best_cells)

    def highest(self, cells: Iterable[Cell]) -> Cell | None:
        """Return the one with the highest score, or None."""
        return max(cells, key=self.score, default=None)

    def best_of(self, level: str | int) -> Cell | None:
        """Return the best cell of an optimizer or of a batch size, or None."""
        return self.highest(cell for cell in self.best_cells if level in cell.key[:2])

    @cached_property
    def best_cells(self) -> list[Cell]:
        """The best cell of each optimizer and batch size that has one."""
        return [cell for o in self.optimizers for batch in self.batch_sizes if (cell := self.best(o, batch))]


def grids(frames: Frames) -> list[Grid]:
    """Arrange all runs in a grid per data set, network and number of epochs. Runs that have not ended are missing."""
    return [_grid(frames.of(part.index)) for _, part in frames.runs.groupby("grid", sort=False)]


def labels(runs: pd.DataFrame) -> "pd.Series[str]":
    """Return row labels: optimizer, schedule, and the settings that differ from those of most runs of that name."""
    named = runs.optimizer.where(runs.schedule == "constant", runs.optimizer + " " + runs.schedule)
    settings = [column for column in runs if column.startswith(("optimizer.", "schedule."))]
    label = named.copy()
    for _, alike in runs[settings].astype("string").fillna("").groupby(named):
        (usual, *_), *_ = Counter(map(tuple, alike.to_numpy())).most_common(1)
        for directory, values in zip(alike.index, map(tuple, alike.to_numpy()), strict=True):
            differing = [
                (key, value) for key, value, most in zip(settings, values, usual, strict=True) if value != most
            ]
            label[directory] += "".join(f" {key.partition('.')[2]} {value or 'unset'}" for key, value in differing)
    return label


def _grid(frames: Frames) -> Grid:
    runs = frames.runs.assign(label=labels(frames.runs))
    ended = runs[runs.status.isin(ENDED)]
    newest = newest_files(ended)
    others = ended.index[ended.data_sha256.notna() & (ended.data_sha256 != newest)]
    ended = ended.drop(others)
    other_code = on_other_code(ended)
    ended = ended.drop(other_code)
    first = runs.iloc[0]
    order = {label: place for place, label in enumerate(sorted(set(runs.label), key=optimizer_order))}
    keys = sorted(
        {(row.label, int(row.batch_size), float(row.lr)) for row in runs.itertuples()},
        key=lambda key: (order[key[0]], key[1], -key[2]),
    )
    curves = dict(iter(frames.curves.groupby(level="directory")))
    cells = {}
    for key in keys:
        part = runs[(runs.label == key[0]) & (runs.batch_size == key[1]) & (runs.lr == key[2])]
        done = part[part.index.isin(ended.index)].sort_values("seed")
        missing = tuple(sorted(int(seed) for seed in set(part.seed) - set(done.seed)))
        of_cell = [curves[directory] for directory in done.index]
        cells[key] = Cell(key, done, pd.concat(of_cell) if of_cell else frames.curves.iloc[:0], missing)
    validates = bool(first.validation)
    return Grid(title(first), str(first.grid), first, cells, validates, newest, tuple(others), tuple(other_code))


def title(run: pd.Series, varying: Collection[str] = ()) -> str:
    """Return the title of the runs that have data, network and epochs in common with this one, save what varies."""
    named = [key for key in run.index if key not in varying and _in_title(run, key)]
    shape = [f"{key.rpartition('.')[2]} {setting(run[key])}" for key in named]
    held_out = [f"{counted(run.validation, 'image')} held out"] if run.validation else []
    return ", ".join([f"{run.model} on {run.data}", *shape, counted(run.epochs, "epoch"), *held_out])


def setting(value: object) -> str:
    """Format a setting; a whole number may have become a float beside runs that lack it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_title(run: pd.Series, key: str) -> bool:
    """Return True if a title names this setting of the data or the network."""
    is_argument = key.startswith(("model.", "source.")) and not key.endswith("._target_") and not pd.isna(run[key])
    return (is_argument or key in OF_THE_DATA) and run[key] != USUAL.get(key)
