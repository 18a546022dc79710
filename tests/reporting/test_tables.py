from pathlib import Path

import pytest

from src.reporting import tables
from src.reporting.grid import grids
from src.runs.dataframe import read
from tests.reporting.synthetic import cell, only


def test_a_cell_shows_mean_interval_diverged_and_missing_runs(tmp_path: Path) -> None:
    """0.97, 0.98 and 0.99 have mean 98 % and half interval 4.3027 x 1 / sqrt(3) = 2.5 points.

    With 2 diverged runs, which count as 0.1, their mean is (0.97 + 0.98 + 0.99 + 0.2) / 5 = 0.628.
    """
    cell(tmp_path, "sgd", 64, 0.05, [0.97, 0.98, 0.99])
    cell(tmp_path, "sgd", 64, 0.0005, [None, 0.97, None, 0.98, 0.99])
    _, interrupted = cell(tmp_path, "sgd", 256, 0.05, [0.99, 0.5])
    interrupted.update(status="interrupted")
    cell(tmp_path, "sgd", 256, 5e-7, [None] * 5)
    table = tables.of_optimizer(only(tmp_path), "sgd").set_index("batch")
    assert table.to_dict("index") == {
        "64": {
            "lr 0.05": "98.0 ± 2.5 / 98.0 ± 2.5 (n=3)",
            "lr 0.0005": "63 [10.0 to 99.0] / 63 [10.0 to 99.0] (n=5), 2 of 5 diverged",
            "lr 5e-07": "missing",
        },
        "256": {
            "lr 0.05": "99.00 / 99.00 ± 0.20, 1 of 2 missing",
            "lr 0.0005": "missing",
            "lr 5e-07": "5 of 5 diverged",
        },
    }
    numbers = tables.numbers(only(tmp_path)).set_index(["batch_size", "lr"])
    assert numbers.loc[(64, 0.0005), ["finished", "diverged", "missing"]].tolist() == [3, 2, 0]
    assert numbers.loc[(64, 0.05), "test_accuracy"] == pytest.approx(0.98)
    assert numbers.loc[(256, 5e-7), ["test_accuracy", "test_accuracy_low"]].isna().all()


def test_markdown_and_latex(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.97, 0.98, 0.99])
    cell(tmp_path, "sgd", 64, 0.05, [None], schedule="grow_batch")
    grid = only(tmp_path)
    assert grid.optimizers == ["sgd", "sgd grow_batch"]
    assert tables.markdown(tables.of_optimizer(grid, "sgd")) == (
        "| batch | lr 0.05 |\n| --- | --- |\n| 64 | 98.0 ± 2.5 / 98.0 ± 2.5 (n=3) |\n"
    )
    latex = tables.latex([("sgd grow_batch: 100 %", tables.of_optimizer(grid, "sgd grow_batch"))])
    for part in (r"\toprule", r"\caption{sgd grow\_batch: 100 \%}", r"64 & 1 of 1 diverged \\", r"\bottomrule"):
        assert part in latex
    assert r"98.0 $\pm$ 2.5" in tables.latex([("", tables.of_optimizer(grid, "sgd"))])


def test_data_sets_networks_and_lengths_are_never_mixed(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.97])
    cell(tmp_path, "sgd", 64, 0.05, [0.87], data="fashion_mnist")
    cell(tmp_path, "sgd", 64, 0.05, [0.77], epochs=5)
    found = {grid.title: len(grid.cells) for grid in grids(read(tmp_path))}
    assert found == {
        "lenet on fashion_mnist, 20 epochs": 1,
        "lenet on mnist, 20 epochs": 1,
        "lenet on mnist, 5 epochs": 1,
    }


def test_runs_on_other_data_files_than_the_newest_are_missing(tmp_path: Path) -> None:
    old, first = cell(tmp_path, "sgd", 64, 0.05, [0.97, 0.98], ended="2026-01-02T00:00:00+00:00")
    (newest,) = cell(tmp_path, "adagrad", 64, 0.05, [0.97], ended="2026-01-03T00:00:00+00:00")
    for run in (first, newest):
        run.update(data=run.record()["data"] | {"sha256": "0" * 64})
    grid = only(tmp_path)
    assert grid.on_other_files == (str(old.directory),)
    assert grid.cells["sgd", 64, 0.05].missing == (0,)
    assert list(grid.cells["sgd", 64, 0.05].runs.index) == [str(first.directory)]
    assert list(grid.cells["adagrad", 64, 0.05].runs.index) == [str(newest.directory)]


def test_settings_that_differ_are_part_of_the_label(tmp_path: Path) -> None:
    from src.config.settings import ConfigChoices, Settings
    from tests.reporting.synthetic import NODES, SCHEDULES, write

    for momentum, seed in ((0.8, 0), (0.8, 1), (0.9, 0)):
        node = NODES["sgd"] | {"momentum": momentum}
        settings = Settings("mnist", 0, "half", {"_target_": "m"}, node, SCHEDULES["constant"], 0.05, 64, 2, seed)
        write(tmp_path, settings, ConfigChoices("lenet", "sgd", "constant"), 0.9)
    assert only(tmp_path).optimizers == ["sgd", "sgd momentum 0.9"]  # the most frequent settings are not named


def test_a_search_is_a_list_of_cells(tmp_path: Path) -> None:
    for number in range(12):
        cell(tmp_path, "sgd", 32 + number, 0.01 * (number + 1), [0.98])
    table = tables.of_optimizer(only(tmp_path), "sgd")
    assert list(table) == ["batch", "lr", "accuracy"]
    assert table.iloc[0].tolist() == ["32", "0.01", "98.00 / 98.00 ± 0.27"]
    assert len(table) == 12
