"""Range tests beside a grid whose best learning rates are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from src.config.settings import ConfigChoices, Settings
from src.reporting.grid import Grid
from src.reporting.range_check import range_checks, summary
from src.reporting.section import Section, sentences
from src.runs.directory import Run
from src.runs.range_tests import RangeTest
from tests.reporting.synthetic import cell, only

ACCURACIES = {1.0: 0.5, 0.1: 0.972, 0.01: 0.975, 0.001: 0.971, 0.0001: 0.9}


def grid(output: Path) -> tuple[Grid, Settings]:
    """Return a grid of one optimizer and batch size, with its best lr at 0.01, and a run's settings."""
    for lr, accuracy in ACCURACIES.items():
        runs = cell(output, "sgd", 64, lr, [accuracy])
    found = only(output)
    return found, settings_of(runs[0])


def settings_of(run: Run) -> Settings:
    return Settings(**run.record()["settings"])


def range_test(
    settings: Settings, low: float, high: float, sha256: str = "a" * 64, valley: float | None = 1e-3
) -> RangeTest:
    normalized = replace(settings, lr=1.0, epochs=1, seed=0)
    return RangeTest(normalized, ConfigChoices("lenet", "sgd", "constant"), sha256, (0, 1), low, high, valley, None, "")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.002, 0.05, "contains the best"),
        (0.01, 0.01001, "contains the best"),
        (0.05, 0.5, "contains one within half a point"),
        (0.0005, 0.002, "contains one within half a point"),
        (0.2, 5.0, "lies above the best"),
        (0.00002, 0.0002, "lies below the best"),
        (0.02, 0.05, "lies above the best; no lr"),
    ],
)
def test_verdicts(low: float, high: float, verdict: str, tmp_path: Path) -> None:
    found, settings = grid(tmp_path)
    (check,) = range_checks(found, [range_test(settings, low, high)])
    assert check.verdict == verdict.partition(";")[0]
    assert check.between == verdict.endswith("no lr")
    assert (check.best, check.close_low, check.close_high) == (0.01, 0.001, 0.1)
    none = " (in 1 of them no lr was tried)" if check.between else ""
    told = f"Learning rate range tests compared with this grid's best lr: of 1 interval, 1 {check.verdict}{none}."
    assert summary([check]) == told


def test_tests_of_other_settings_or_data_are_not_compared(tmp_path: Path) -> None:
    found, settings = grid(tmp_path)
    others = [
        range_test(settings, 0.001, 0.1, sha256="b" * 64),
        range_test(replace(settings, batch_size=256), 0.001, 0.1),
        range_test(replace(settings, optimizer={"_target_": "torch.optim.Adam"}), 0.001, 0.1),
        range_test(replace(settings, normalize="none"), 0.001, 0.1),
        range_test(replace(settings, model={"_target_": "src.models.MLP"}), 0.001, 0.1),
    ]
    assert range_checks(found, others) == []
    assert len(range_checks(found, [*others, range_test(settings, 0.001, 0.1)])) == 1


def test_a_single_lr_or_none_to_choose_is_no_check(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.1, [0.9])
    found = only(tmp_path)
    assert range_checks(found, [range_test(settings_of(run), 0.01, 1.0)]) == []
    lost = tmp_path / "lost"
    for lr in (1.0, 0.1):
        cell(lost, "sgd", 64, lr, [None])
    found = only(lost)
    assert range_checks(found, [range_test(settings_of(run), 0.01, 1.0)]) == []


def test_the_summary_counts_them(tmp_path: Path) -> None:
    found, settings = grid(tmp_path)
    section = Section(found, found, tests=[range_test(settings, 0.2, 5.0)])
    assert (
        sentences(section)[-1]
        == "Learning rate range tests compared with this grid's best lr: of 1 interval, 1 lies above the best."
    )


def test_a_test_that_saw_no_fall_is_no_hit(tmp_path: Path) -> None:
    found, settings = grid(tmp_path)
    (check,) = range_checks(found, [range_test(settings, 1e-7, 5.0, valley=None)])
    assert check.verdict == "saw no fall"
    assert summary([check, check]).endswith("of 2 intervals, 2 saw no fall.")
