"""Runs arranged as a grid of cells: by optimizer, batch size and lr, over seeds."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from src.config.settings import optimizer_order
from src.reporting.statistics import Estimate, binomial_interval, counted, mean_interval
from src.runs.dataframe import Frames
from src.runs.record import ENDED

Key = tuple[str, int, float]  # an optimizer's label, a batch size, an lr

# What a title leaves unsaid: the values in conf/.
USUAL = {
    "normalize": "half",
    "model.init": "torch",
    "model.activation": "relu",
    "model.pooling": "max",
    "model.padding": 2,
}


@dataclass(frozen=True, eq=False)
class Cell:
    """Runs that differ in their seed alone, and the seeds whose run was asked for or begun, and has not ended."""

    key: Key
    runs: pd.DataFrame  # those that have ended, by directory, in the order of their seeds
    curves: pd.DataFrame
    missing: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Its key for people."""
        optimizer, batch, lr = self.key
        return f"{optimizer}, batch {batch}, lr {lr:g}"

    @property
    def finished(self) -> pd.DataFrame:
        return self.runs[self.runs.status == "finished"]

    @property
    def diverged(self) -> int:
        return int((self.runs.status == "diverged").sum())

    def values(self, figure: str) -> dict[int, float]:
        """A final figure of each finished run, by seed."""
        return dict(zip(self.finished.seed, self.finished[figure], strict=True))

    def estimate(self, figure: str) -> Estimate | None:
        """Over the finished runs; of one alone, how sure its test images make an accuracy. None of none."""
        values = list(self.values(figure).values())
        if len(values) == 1 and figure == "test_accuracy":
            return binomial_interval(values[0], self.images)
        return mean_interval(values) if values else None

    @property
    def images(self) -> int:
        """In the test set."""
        return int(self.runs.test_images.iloc[0])

    def by_epoch(self, figure: str) -> pd.DataFrame:
        """A figure's curves: a row an epoch, a column a finished or diverged run."""
        return self.curves[figure].unstack("directory")


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells on one data set and network, trained for as many epochs.

    Every choice among them is by the validation set, so that it cannot favour a test accuracy; without one, by the test
    set.
    """

    title: str
    digest: str  # of what its runs have in common
    cells: dict[Key, Cell]
    validates: bool  # whether its runs hold validation images out
    data_sha256: str | None = None  # of the data files
    on_other_files: tuple[str, ...] = ()  # directories of runs that have ended, and count as missing

    @property
    def splits(self) -> list[str]:
        """What its images are split into."""
        return ["train", "validation", "test"] if self.validates else ["train", "test"]

    @property
    def chosen_on(self) -> str:
        """The split that choices are made on."""
        return "validation" if self.validates else "test"

    def score(self, cell: Cell) -> float:
        """What choices are made by: a cell's mean accuracy on that split."""
        return float(cell.finished[f"{self.chosen_on}_accuracy"].mean())

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
        """The cell of the highest score of which no run diverged."""
        cells = [cell for key, cell in self.cells.items() if key[:2] == (optimizer, batch_size)]
        whole = [cell for cell in cells if not cell.diverged and not math.isnan(self.score(cell))]
        return max(whole, key=self.score, default=None)

    @cached_property
    def best_cells(self) -> list[Cell]:
        """Of each optimizer and batch size that has one."""
        return [cell for o in self.optimizers for batch in self.batch_sizes if (cell := self.best(o, batch))]


def grids(frames: Frames) -> list[Grid]:
    """All runs, a grid for each data set, network and length. A run that has not ended is missing."""
    return [_grid(frames.of(part.index)) for _, part in frames.runs.groupby("grid", sort=False)]


def labels(runs: pd.DataFrame) -> "pd.Series[str]":
    """What rows of tables are called: optimizer, schedule, and in what they differ from most runs of that name."""
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
    newest = _newest_files(ended)
    others = ended.index[ended.data_sha256.notna() & (ended.data_sha256 != newest)]
    ended = ended.drop(others)
    first = runs.iloc[0]
    shape = [f"{key.rpartition('.')[2]} {first[key]}" for key in runs if _is_told(first, key)]
    held_out = [f"{counted(first.validation, 'image')} held out"] if first.validation else []
    title = ", ".join([f"{first.model} on {first.data}", *shape, counted(first.epochs, "epoch"), *held_out])
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
    return Grid(title, str(first.grid), cells, bool(first.validation), newest, tuple(others))


def _newest_files(ended: pd.DataFrame) -> str | None:
    """The hash of the data files that the last run to end was trained on, which probably lie there now."""
    known = ended[ended.data_sha256.notna()]
    times = known.ended.where(known.ended.notna(), known.began).fillna("")
    return max(zip(times, known.data_sha256, strict=True))[1] if len(known) else None


def _is_told(run: pd.Series, key: str) -> bool:
    """Whether a title names this setting of the pixels or the network."""
    is_argument = key.startswith("model.") and key != "model._target_" and not pd.isna(run[key])
    return (is_argument or key == "normalize") and run[key] != USUAL.get(key)
