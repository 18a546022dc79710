from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from src.reporting.comparisons import by_seeds, compare_all
from src.reporting.grid import grids
from src.runs.dataframe import read
from tests.reporting.synthetic import cell


def verdicts(output: Path) -> list[str]:
    (grid,) = grids(read(output))
    return [pair.verdict for pair in compare_all(grid.best_cells)]


def test_the_best_cells_are_compared_over_shared_seeds(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98 + seed / 10_000 for seed in range(8)])
    cell(tmp_path, "sgd", 64, 0.0005, [0.9] * 8)  # not the best of its row
    cell(tmp_path, "adam", 64, 0.0005, [0.99 + seed / 20_000 for seed in range(8)])
    cell(tmp_path, "adam", 64, 0.05, [0.999, *[None] * 7])  # diverged, so not the best either
    (grid,) = grids(read(tmp_path))
    (pair,) = compare_all(grid.best_cells)
    assert (pair.one.key, pair.other.key) == (("sgd", 64, 0.05), ("adam", 64, 0.0005))
    assert pair.comparison.p == pair.adjusted == 2 / 256
    assert pair.verdict == "adam, batch 64, lr 0.0005 is better"
    assert "best learning rate, chosen on the test set" in by_seeds(grid, [pair])


def test_too_few_seeds_are_reported_with_the_number_needed(tmp_path: Path) -> None:
    for optimizer, accuracy in (("sgd", 0.97), ("adagrad", 0.98), ("adam", 0.99)):
        cell(tmp_path, optimizer, 64, 0.05, [accuracy + seed / 10_000 for seed in range(5)])
    assert set(verdicts(tmp_path)) == {"cannot be told: 5 seeds are too few for 3 tests, 7 are needed"}


def test_with_one_seed_predictions_are_compared(tmp_path: Path) -> None:
    labels = np.zeros(10_000, np.uint8)
    for optimizer, wrong in (("sgd", 50), ("adam", 10)):
        (run,) = cell(tmp_path, optimizer, 64, 0.05, [1 - wrong / 10_000])
        predictions = labels.copy()
        predictions[:wrong] = 1
        run.write_predictions(predictions, labels, 10)
    (grid,) = grids(read(tmp_path))
    (pair,) = compare_all(grid.best_cells)
    assert pair.comparison.p == pytest.approx(stats.binomtest(0, 40).pvalue)
    assert pair.verdict == "adam, batch 64, lr 0.05 is better"
    assert "McNemar's test says nothing about other seeds." in by_seeds(grid, [pair])


def test_without_predictions_one_seed_gives_no_test(tmp_path: Path) -> None:
    for optimizer in ("sgd", "adam"):
        cell(tmp_path, optimizer, 64, 0.05, [0.98])
    assert verdicts(tmp_path) == ["no test: no predictions stored"]


def test_damaged_predictions_give_no_test_and_are_named_once(tmp_path: Path) -> None:
    labels = np.zeros(10_000, np.uint8)
    (damaged,) = cell(tmp_path, "sgd", 64, 0.05, [0.98])
    damaged.predictions_file.write_bytes(b"no array")
    for optimizer in ("adagrad", "adam"):
        (run,) = cell(tmp_path, optimizer, 64, 0.05, [1.0])
        run.write_predictions(labels, labels, 10)
    (grid,) = grids(read(tmp_path))
    found = compare_all(grid.best_cells)
    unreadable = "no test: the predictions cannot be read"
    assert [pair.verdict for pair in found] == [unreadable, unreadable, "no difference shown"]
    assert [pair.damaged for pair in found] == [{damaged.predictions_file: "not a NumPy array"}] * 2 + [{}]
