"""The three answers of a report, on runs for which they are known."""

from pathlib import Path

import pytest

from src.reporting.answers import Answer, answers
from src.reporting.grid import grids
from src.runs.dataframe import read
from tests.reporting.synthetic import cell


def answered(output: Path) -> dict[str, Answer]:
    (grid,) = grids(read(output))
    return {answer.question: answer for answer in answers(grid)}


def around(mean: float, seeds: int = 8) -> list[float]:
    return [mean + (seed - (seeds - 1) / 2) / 10_000 for seed in range(seeds)]


def test_the_best_lr_has_a_range_of_half_a_point(tmp_path: Path) -> None:
    for lr, accuracy in ((0.5, 0.9), (0.05, 0.986), (0.005, 0.99), (0.0005, 0.9861), (5e-5, 0.98)):
        cell(tmp_path, "sgd", 64, lr, [accuracy])
    for lr, accuracy in ((0.05, 0.98), (0.005, 0.9), (0.0005, 0.979)):
        cell(tmp_path, "adam", 64, lr, [accuracy])
    cell(tmp_path, "adam", 64, 0.5, [None])
    answer = answered(tmp_path)["Which learning rate?"]
    assert answer.answer == "sgd 0.005, adam 0.05"
    assert answer.rows == [["sgd", "0.005", "0.0005 to 0.05"], ["adam", "0.05", "0.05"]]
    assert "edge" not in answer.evidence[0]  # adam was tried at 0.5, where it diverged


def test_a_best_lr_on_the_edge_of_the_grid_is_said(tmp_path: Path) -> None:
    for optimizer, high, low in (("sgd", 0.99, 0.9), ("adam", 0.9, 0.99)):
        cell(tmp_path, optimizer, 64, 0.05, [high])
        cell(tmp_path, optimizer, 64, 0.0005, [low])
    answer = answered(tmp_path)["Which learning rate?"]
    assert answer.evidence[0] == "Best on the grid's edge; try sgd above 0.05, adam below 0.0005."


def test_an_optimizer_without_a_whole_cell_has_no_best_lr(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    cell(tmp_path, "sgd", 64, 0.5, [0.97])
    cell(tmp_path, "adam", 64, 0.5, [None, 0.99])
    answer = answered(tmp_path)["Which learning rate?"]
    assert answer.rows[1] == ["adam", "none: diverged or missing", ""]
    assert answered(tmp_path)["Which optimizer?"].answer == "sgd"


@pytest.mark.parametrize(
    ("adam", "adagrad", "answer"),
    [
        (0.98, 0.97, "sgd"),
        (0.99, 0.97, "sgd or adam (cannot be told apart)"),
        (0.99, 0.99, "sgd, adam or adagrad (cannot be told apart)"),
    ],
)
def test_optimizers_that_no_test_tells_apart_are_all_named(
    adam: float, adagrad: float, answer: str, tmp_path: Path
) -> None:
    cell(tmp_path, "sgd", 64, 0.05, around(0.9901))
    cell(tmp_path, "sgd", 64, 0.5, around(0.5))
    cell(tmp_path, "adam", 256, 0.05, around(adam)[::-1])
    cell(tmp_path, "adagrad", 64, 0.05, around(adagrad - 0.00005)[::-1])
    found = answered(tmp_path)["Which optimizer?"]
    assert found.answer == answer
    assert [row[0] for row in found.rows] == ["sgd", "adam", "adagrad"]
    assert found.rows[1][2:] == ["256", "0.05"]


def test_too_few_seeds_are_said(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.99, 0.98])
    cell(tmp_path, "adam", 64, 0.05, [0.9, 0.91])
    found = answered(tmp_path)["Which optimizer?"]
    assert found.answer == "sgd or adam (cannot be told apart)"
    assert "With 2 seeds no difference can be significant here; it takes at least 6." in found.evidence


def test_a_batch_size_is_judged_by_epochs_updates_and_seconds(tmp_path: Path) -> None:
    """Synthetic runs have 10 updates and 2 seconds an epoch."""
    cell(tmp_path, "sgd", 64, 0.05, [[0.5, 0.986, *[0.99] * 18]] * 2)
    cell(tmp_path, "sgd", 256, 0.05, [[0.5, 0.6, 0.7, 0.98, *[0.986] * 16]] * 2)
    cell(tmp_path, "sgd", 256, 0.5, [0.9, 0.9])
    found = answered(tmp_path)["Which batch size?"]
    assert "98.1 %" in found.evidence[-1]  # half a point below the lower of the two
    assert found.heads[2:] == ["with", "epochs", "updates", "seconds"]
    assert [row[0] for row in found.rows] == ["64", "256"]
    assert found.rows[0][2:] == ["sgd 0.05", "2", "20", "4.0"]
    assert found.rows[1][2:] == ["sgd 0.05", "5", "50", "10.0"]


def test_one_cell_answers_nothing(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.99, 0.98])
    assert answered(tmp_path) == {}


def test_runs_that_all_diverged_answer_nothing(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [None])
    cell(tmp_path, "sgd", 64, 0.5, [None])
    assert answered(tmp_path) == {}
