"""Sections that differ in the network's size or in the data."""

from pathlib import Path

from src.config.settings import ConfigChoices, Settings
from src.reporting.chapter import Chapter, chapters
from src.reporting.grid import grids
from src.reporting.section import Section
from src.runs.dataframe import read
from tests.reporting.synthetic import NODES, SCHEDULES, cell, write


def found(output: Path) -> list[Chapter]:
    return chapters([Section(grid, grid, number) for number, grid in enumerate(grids(read(output)), 1)])


def test_networks_of_several_sizes_are_one_chapter(tmp_path: Path) -> None:
    for width, accuracy in ((4, 0.9), (16, 0.95), (8, 0.97)):
        model = {"_target_": "mine.Net", "width": width, "depth": 2}
        for seed in range(2):
            settings = Settings("mnist", 0, "half", model, NODES["sgd"], SCHEDULES["constant"], 0.1, 64, 3, seed)
            write(tmp_path, settings, ConfigChoices("net", "sgd", "constant"), accuracy)
    (chapter,) = found(tmp_path)
    assert chapter.title == "net on mnist, depth 2, 3 epochs"
    assert chapter.varying == chapter.settings == ["model.width"]
    assert [row[:2] for _, row in chapter.ranking] == [
        ["8", "sgd, batch 64, lr 0.1"],
        ["16", "sgd, batch 64, lr 0.1"],
        ["4", "sgd, batch 64, lr 0.1"],
    ]
    assert chapter.is_search
    assert len(chapter.runs) == 6


def test_data_sets_are_chapters_of_their_own(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    cell(tmp_path, "sgd", 64, 0.05, [0.88], data="fashion_mnist")
    one, other = found(tmp_path)
    assert {one.title, other.title} == {"lenet on mnist, 20 epochs", "lenet on fashion_mnist, 20 epochs"}
    assert one.varying == other.varying == []
    assert not one.is_search


def test_networks_on_other_files_of_one_name_are_chapters_of_their_own(tmp_path: Path) -> None:
    """Their accuracies are not compared, and their titles tell them apart."""
    for width, files in ((4, "a"), (8, "a"), (16, "b"), (32, "b")):
        model = {"_target_": "mine.Net", "width": width}
        settings = Settings("set", 0, "half", model, NODES["sgd"], SCHEDULES["constant"], 0.1, 64, 3, 0)
        names = ConfigChoices("net", "sgd", "constant")
        write(tmp_path, settings, names, 0.9, of_data={"sha256": files * 64})
    chapters_found = found(tmp_path)
    assert {chapter.title: {row[0] for _, row in chapter.ranking} for chapter in chapters_found} == {
        "net on set, 3 epochs, files aaaaaaaa": {"4", "8"},
        "net on set, 3 epochs, files bbbbbbbb": {"16", "32"},
    }


def test_a_network_whose_runs_all_diverged_comes_last(tmp_path: Path) -> None:
    for width, status in ((4, "diverged"), (8, "finished")):
        model = {"_target_": "mine.Net", "width": width}
        settings = Settings("mnist", 0, "half", model, NODES["sgd"], SCHEDULES["constant"], 0.1, 64, 3, 0)
        write(tmp_path, settings, ConfigChoices("net", "sgd", "constant"), 0.1, status=status)
    (chapter,) = found(tmp_path)
    assert [row[:2] for _, row in chapter.ranking] == [
        ["8", "sgd, batch 64, lr 0.1"],
        ["4", "none: no run finished"],
    ]
