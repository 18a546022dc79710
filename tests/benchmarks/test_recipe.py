import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from src.config.settings import ConfigChoices, Settings
from src.reporting.assignment.reference import PUBLISHED
from src.reporting.grid import USUAL, grids
from src.runs.dataframe import read
from tests.benchmarks.recipe import SCREEN, candidates, log_density, scores
from tests.helpers.commands import ROOT
from tests.reporting.synthetic import NODES, SCHEDULES, write

LENET: dict[str, Any] = {"_target_": "src.models.LeNet"} | {
    key.partition(".")[2]: value for key, value in USUAL.items() if key.startswith("model.")
}


def recipe(
    output: Path, shift: float, seeds: int, normalize: str = "half", init: str = "torch", cells: int = 18
) -> None:
    """Write runs whose test accuracy is the assignment's plus `shift`, in the first `cells` cells."""
    for (optimizer, batch, lr), (_, test) in list(PUBLISHED.items())[:cells]:
        for seed in range(seeds):
            settings = Settings(
                "mnist", 0, "half", LENET | {"init": init}, NODES[optimizer], SCHEDULES["constant"], lr, batch, 20, seed
            )
            accuracy = (test + shift + 0.1 * (seed - (seeds - 1) / 2)) / 100
            settings = replace(settings, normalize=normalize)  # type: ignore[arg-type]
            write(output, settings, ConfigChoices("lenet", optimizer, "constant"), min(accuracy, 1.0))


def test_the_density_is_students_t() -> None:
    freedom, n, mean, variance = 3, 4, 95.0, 0.25
    scale = math.sqrt((1 + 1 / n) * (variance + 95 * 5 / 10_000))
    z = (96 - mean) / scale
    log = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.sqrt(freedom * math.pi) * scale)
    log -= (freedom + 1) / 2 * math.log(1 + z * z / freedom)
    assert log_density(96, mean, variance, freedom, n, 10_000) == pytest.approx(log, rel=1e-12)


def test_the_recipe_that_made_the_figures_is_the_likeliest(tmp_path: Path) -> None:
    recipe(tmp_path, 0.0, 4)
    recipe(tmp_path, -0.4, 4, normalize="center")
    recipe(tmp_path, -0.8, 4, init="xavier_uniform")
    table = scores(candidates(grids(read(tmp_path))))
    last = table[table.epoch == "last"]
    expected = ["normalize half, init torch", "normalize center, init torch", "normalize half, init xavier_uniform"]
    assert last.candidate.tolist() == expected
    assert last.score_all.is_monotonic_decreasing
    assert set(last.cells) == {18}


def test_with_few_seeds_the_pooled_spread_is_used(tmp_path: Path) -> None:
    recipe(tmp_path, 0.0, 4)
    recipe(tmp_path, 0.3, 1, normalize="none")
    table = scores(candidates(grids(read(tmp_path)))).set_index(["candidate", "epoch"])
    one = table.loc["normalize none, init torch", "last"]
    assert (one.cells, one.seeds) == (18, 1)
    assert math.isnan(one.score_all)
    variance = sum((0.1 * (seed - 1.5)) ** 2 for seed in range(4)) / 3
    by_hand = sum(
        log_density(figure, test + 0.3, variance, 3, 1, images)
        for train, test in (PUBLISHED[key] for key in SCREEN)
        for figure, images in ((train, 60_000), (test, 10_000))
    )
    assert one.score_screen == pytest.approx(by_hand, abs=1e-6)


def test_a_candidate_without_the_cells_has_no_score(tmp_path: Path) -> None:
    recipe(tmp_path, 0.0, 4, cells=3)
    table = scores(candidates(grids(read(tmp_path))))
    assert table[["score_256", "score_screen", "score_all"]].isna().all(axis=None)


def test_schedules_are_no_candidates(tmp_path: Path) -> None:
    recipe(tmp_path, 0.0, 4)
    before = scores(candidates(grids(read(tmp_path))))
    cell_with_schedule = Settings("mnist", 0, "half", LENET, NODES["sgd"], SCHEDULES["step"], 0.05, 64, 20, 0)
    write(tmp_path, cell_with_schedule, ConfigChoices("lenet", "sgd", "step"), 0.9)
    assert scores(candidates(grids(read(tmp_path)))).equals(before)


def test_other_settings_of_one_optimizer_are_scored_beside_the_others(tmp_path: Path) -> None:
    recipe(tmp_path, 0.0, 4)
    adam = NODES["adam"] | {"eps": 1e-7}
    for batch in (64, 256):
        settings = Settings("mnist", 0, "half", LENET, adam, SCHEDULES["constant"], 5e-7, batch, 20, 0)
        write(tmp_path, settings, ConfigChoices("lenet", "adam", "constant"), 0.5)
    table = scores(candidates(grids(read(tmp_path)))).set_index(["candidate", "epoch"])
    variant = table.loc["normalize half, init torch, eps 1e-07", "last"]
    assert variant.score_screen < table.loc["normalize half, init torch", "last"].score_screen
    assert variant.cells == 18


def test_a_diverged_run_counts_as_guessing_in_its_last_and_its_best_epoch(tmp_path: Path) -> None:
    for seed, curve in ((0, [0.2] * 20), (1, [0.25])):
        settings = Settings("mnist", 0, "half", LENET, NODES["adam"], SCHEDULES["constant"], 0.05, 64, 20, seed)
        status = "diverged" if seed else "finished"
        shares = {"largest_class": {"train": 0.11, "test": 0.12}}
        write(tmp_path, settings, ConfigChoices("lenet", "adam", "constant"), curve, status=status, of_data=shares)
    for candidate in candidates(grids(read(tmp_path))):
        assert candidate.cells["adam", 64, 0.05].tolist() == [[20, 20], [11, 12]]


def test_without_enough_seeds_there_is_no_score(tmp_path: Path) -> None:
    recipe(tmp_path, 0.0, 2)
    recipe(tmp_path, 0.0, 2, normalize="none")
    assert scores(candidates(grids(read(tmp_path)))).score_screen.isna().all()


def test_best_epochs_are_no_worse_than_last(tmp_path: Path) -> None:
    settings = Settings("mnist", 0, "half", LENET, NODES["sgd"], SCHEDULES["constant"], 0.05, 64, 20, 0)
    write(tmp_path, settings, ConfigChoices("lenet", "sgd", "constant"), [0.5, 0.9, *[0.8] * 18])
    last, best = candidates(grids(read(tmp_path)))
    key = ("sgd", 64, 0.05)
    assert (last.epoch, last.cells[key].tolist(), best.cells[key].tolist()) == ("last", [[80, 80]], [[90, 90]])


def test_titles_omit_the_defaults_of_conf() -> None:
    model: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "model" / "lenet.yaml"))
    data = OmegaConf.load(ROOT / "conf" / "data" / "auto.yaml")
    of_data = {"normalize": data.normalize, "augment": data.augment, "test_share": data.test, "source.grey": False}
    usual = of_data | {f"model.{key}": value for key, value in model.items() if key != "_target_"}
    assert usual == USUAL
