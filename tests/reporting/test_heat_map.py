from pathlib import Path

import numpy as np
import pytest

from src.reporting import tables
from src.reporting.heat_map import HeatMap
from tests.reporting.synthetic import cell, only


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two sRGB colours, by the definition of WCAG 2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
        values = np.array([int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)])
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_tiles_show_each_split_over_all_seeds_and_for_each(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.97, None, 0.99], validation=[0.9, 0.9, 0.92])
    grid = only(tmp_path)
    (shown,) = grid.cells.values()
    tiles = {(tile.split, tile.seed): tile for tile in HeatMap(grid).tiles(shown)}
    assert set(tiles) == {(split, seed) for split in grid.splits for seed in ("all", "0", "1", "2")}
    assert tiles["test", "all"].accuracy == tables.numbers(grid).test_accuracy[0]
    assert tiles["test", "all"].text == tables.accuracy(shown, "test_accuracy")
    assert [tiles["test", seed].text for seed in "012"] == ["97.00", "\N{EM DASH}", "99.00"]
    assert tiles["validation", "2"].text == "92.00"


def test_colours_follow_the_logit_and_texts_can_be_read(tmp_path: Path) -> None:
    for lr, accuracy in zip((0.5, 0.05, 0.005, 0.0005), (0.1, 0.5, 0.9, 1.0), strict=True):
        cell(tmp_path, "sgd", 64, lr, [accuracy])
    grid = only(tmp_path)
    heat_map = HeatMap(grid)
    tiles = [next(tile for tile in heat_map.tiles(each) if tile.split == "test") for each in grid.cells.values()]
    assert tiles[0].background == heat_map.ramp[0]
    assert tiles[-1].background == heat_map.ramp[-1]
    assert len({tile.background for tile in tiles}) == 4
    assert all(contrast(tile.background, tile.ink) >= 4.5 for tile in tiles)
    assert heat_map.bounds("test") == ("10.00", "99.99")


def test_marks_name_what_colours_do_not_show(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.5, [None, 0.1])
    *_, interrupted = cell(tmp_path, "sgd", 64, 0.05, [0.98, 0.97, 0.97])
    interrupted.update(status="interrupted")
    grid = only(tmp_path)
    lost, good = grid.cells.values()
    heat_map = HeatMap(grid)
    assert heat_map.marks(lost) == ["\N{MULTIPLICATION SIGN} 1 of 2 diverged", "at chance"]
    assert heat_map.marks(good) == ["1 of 3 missing"]
    assert grid.best_cell is grid.best_of("sgd") is good


@pytest.mark.parametrize("accuracies", [[None], [0.0], [1.0, 1.0]])
def test_grids_of_one_accuracy_or_none_have_colours_too(accuracies: list[float | None], tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.5, accuracies)
    grid = only(tmp_path)
    (shown,) = grid.cells.values()
    known = {HeatMap(grid).ramp[0], HeatMap(grid).ramp[-1]} if accuracies != [None] else {"transparent"}
    assert {tile.background for tile in HeatMap(grid).tiles(shown)} <= {*known, "transparent"}
