"""The three answers of a report, on runs for which they are known."""

from pathlib import Path

import numpy as np
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


def test_an_optimizer_of_which_no_run_finished_has_no_best_lr(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    cell(tmp_path, "sgd", 64, 0.5, [0.97])
    cell(tmp_path, "adam", 64, 0.5, [None, None])
    answer = answered(tmp_path)["Which learning rate?"]
    assert answer.rows[1] == ["adam", "none: no run finished", ""]
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


def test_a_choice_by_validation_may_do_worse_on_the_test_set(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, around(0.97), validation=[0.99] * 8)
    cell(tmp_path, "adam", 64, 0.05, around(0.98), validation=[0.98] * 8)
    found = answered(tmp_path)["Which optimizer?"]
    assert found.answer == "sgd, though adam did better on the test set"
    assert found.evidence[0] == "sgd minus adam: -1.00 \N{PLUS-MINUS SIGN} 0.00 points, significant."


def test_one_seed_says_nothing_about_others(tmp_path: Path) -> None:
    labels = np.zeros(10_000, np.uint8)
    for optimizer, wrong in (("sgd", 100), ("adam", 5000)):
        (run,) = cell(tmp_path, optimizer, 64, 0.05, [1 - wrong / 10_000])
        run.write_predictions((np.arange(10_000) < wrong).astype(np.uint8), labels, 10)
    found = answered(tmp_path)["Which optimizer?"]
    assert found.answer == "sgd by one seed"
    assert found.evidence[-1].endswith("McNemar's exact test on the test images, which says nothing about other seeds.")


def test_cells_without_shared_seeds_are_not_compared(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.99])
    first, _ = cell(tmp_path, "adam", 64, 0.05, [0.9, 0.98])
    first.record_file.unlink()
    found = answered(tmp_path)["Which optimizer?"]
    assert found.answer == "sgd or adam (cannot be told apart)"
    assert found.evidence[0] == "No test: no shared seeds."


def test_lrs_that_were_not_begun_do_not_count_as_tried(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.99])
    cell(tmp_path, "sgd", 64, 0.0005, [0.9])
    (waiting,) = cell(tmp_path, "sgd", 64, 0.5, [0.99])
    waiting.update(status="interrupted")
    cell(tmp_path, "adam", 64, 0.05, [0.99])
    found = answered(tmp_path)["Which learning rate?"]
    assert found.evidence[0] == "Best on the grid's edge; try sgd above 0.05."
    assert found.rows[1] == ["adam", "0.05", "no other was tried"]


def test_batch_sizes_of_different_optimizers_are_said(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.99, 0.98])
    cell(tmp_path, "adam", 256, 0.05, [0.1, 0.1])
    found = answered(tmp_path)["Which batch size?"]
    assert "Their optimizers differ, so batch size is not all that is compared." in found.evidence
    assert "until 98 % of the test images" in found.evidence[-1]  # 256 is at chance
    assert found.rows[1][3:] == ["never"] * 3


def test_batch_sizes_at_chance_have_no_common_accuracy(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.1])
    cell(tmp_path, "sgd", 256, 0.05, [0.0])
    assert answered(tmp_path)["Which batch size?"].heads == ["", "test %", "with"]


def test_an_optimizer_that_takes_several_gradients_an_update_is_compared_by_gradients(tmp_path: Path) -> None:
    curve = [0.5, 0.6, *[0.99] * 18]
    cell(tmp_path, "sgd", 64, 0.05, [curve])
    (twice,) = cell(tmp_path, "adam", 64, 0.05, [curve])
    assert answered(tmp_path)["Which optimizer?"].heads[-1] == "lr"
    record, rows = twice.read()
    twice.write_curve([row | {"gradients": 2 * row["updates"]} for row in rows])
    twice.update(figures=record["figures"] | {"gradients": 400})
    answer = answered(tmp_path)["Which optimizer?"]
    assert answer.heads[-2:] == ["gradients", "seconds"]
    assert {row[0]: row[-2:] for row in answer.rows} == {"sgd": ["30", "6.0"], "adam": ["60", "6.0"]}
    assert "Gradients an update: adam 2, others 1. Equal epochs are not equal work" in " ".join(answer.evidence)
