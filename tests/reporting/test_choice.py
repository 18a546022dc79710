"""Choices among runs whose validation and test accuracies disagree."""

from pathlib import Path

import pytest

from src.report import report
from src.reporting import tables
from src.reporting.assignment.evidence import best_lrs
from src.reporting.comparisons import by_seeds, compare_all
from src.reporting.figures import figures
from tests.reporting.synthetic import cell, only

SEEDS = 8


def disagreeing(output: Path, held_out: bool = True) -> None:
    """Write runs whose best lr is the lowest by test accuracy and the highest by validation accuracy."""
    for optimizer, less in (("sgd", 0.0), ("adam", 0.01)):
        for lr, test, validation in ((0.05, 0.95, 0.99), (0.005, 0.96, 0.98), (0.0005, 0.97, 0.97)):
            seeds = [seed / 5_000 for seed in range(SEEDS)]
            by_validation = [validation - less - seed for seed in seeds] if held_out else None
            cell(output, optimizer, 64, lr, [test + less + seed for seed in seeds], validation=by_validation)


@pytest.mark.parametrize(("held_out", "lr", "split"), [(True, 0.05, "validation"), (False, 0.0005, "test")])
def test_every_choice_is_made_on_the_validation_set_if_there_is_one(
    held_out: bool, lr: float, split: str, tmp_path: Path
) -> None:
    disagreeing(tmp_path, held_out)
    grid = only(tmp_path)
    assert [best.key for best in grid.best_cells] == [("sgd", 64, lr), ("adam", 64, lr)]
    (pair,) = found = compare_all(grid.best_cells)
    assert (pair.one.key, pair.other.key) == (("sgd", 64, lr), ("adam", 64, lr))
    assert pair.comparison.difference.value == pytest.approx(-0.01)  # of test accuracies
    assert f"its best learning rate, chosen on the {split} set." in by_seeds(grid, found)
    assert best_lrs(grid, [64]) == f"Best lr on the {split} set: sgd, batch 64: {lr:g}; adam, batch 64: {lr:g}"
    drawn = {name: (caption, figure) for name, caption, figure in figures(grid)}
    for name in ("epochs and updates", "time to accuracy"):
        assert drawn[name][0].startswith(f"At the best learning rate, chosen on the {split} set")
    assert [axis.get_title() for axis in drawn["lr sensitivity"][1].axes] == [
        f"{optimizer}\nbest on the grid's edge: {lr:g}" for optimizer in ("sgd", "adam")
    ]
    lines = [str(line.get_label()) for line in drawn["epochs and updates"][1].axes[0].lines]
    assert lines == [f"sgd, batch 64, lr {lr:g}", f"adam, batch 64, lr {lr:g}"]


def test_the_test_accuracy_of_the_choice_is_reported(tmp_path: Path) -> None:
    disagreeing(tmp_path)
    page = report([f"output_dir={tmp_path}"])
    summary = (page.parent / "summary.txt").read_text()
    assert (
        "Best cell, chosen on the validation set: sgd, batch 64, lr 0.05 with 95.07 ± 0.04 % on the test set; "
        "not significantly better than any other, by optimizer and batch size." in summary
    )
    text = page.read_text()
    assert "set: adam" not in text
    assert "chosen on the test set" not in text.lower()
    assert "The test accuracies are compared." in text
    assert "train / validation / test" in text
    assert "98.98" in text  # a run's validation accuracy


def test_tables_show_the_validation_accuracy(tmp_path: Path) -> None:
    disagreeing(tmp_path)
    grid = only(tmp_path)
    assert tables.of_optimizer(grid, "sgd")["lr 0.05"].tolist() == ["95.07 ± 0.04 / 98.93 ± 0.04 / 95.07 ± 0.04 (n=8)"]
    assert tables.numbers(grid).validation_accuracy.round(4).tolist() == [
        0.9893, 0.9793, 0.9693, 0.9793, 0.9693, 0.9593,
    ]  # fmt: skip


def test_without_validation_images_the_summary_names_the_test_set(tmp_path: Path) -> None:
    disagreeing(tmp_path, held_out=False)
    summary = (report([f"output_dir={tmp_path}"]).parent / "summary.txt").read_text()
    assert "Best cell, chosen on the test set: adam, batch 64, lr 0.0005 with 98.07 ± 0.04 %;" in summary
    assert "significantly better than all others, by optimizer and batch size." in summary


def test_a_run_without_validation_accuracy_is_not_chosen(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.9], validation=[0.8])
    (run,) = cell(tmp_path, "sgd", 64, 0.5, [0.9], validation=[0.99])
    run.update(figures={key: each for key, each in run.record()["figures"].items() if "validation" not in key})
    assert [best.key for best in only(tmp_path).best_cells] == [("sgd", 64, 0.05)]
