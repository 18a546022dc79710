"""The summary of a report, with singular and plural counts."""

from pathlib import Path

import numpy as np
import pytest

from src.reporting.assignment.claims import Claim
from src.reporting.grid import grids
from src.reporting.section import Section, sentences
from src.runs.dataframe import read
from tests.reporting.synthetic import cell


def said(output: Path, verdicts: tuple[str, ...] = ()) -> list[str]:
    (grid,) = grids(read(output))
    section = Section(grid, grid)
    section.__dict__["reference"] = {}
    section.__dict__["claims"] = [Claim("", "", verdict, "") for verdict in verdicts]  # type: ignore[arg-type]
    return sentences(section)


def test_runs_are_counted(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98], epochs=1)
    assert said(tmp_path)[0] == "lenet on mnist, 1 epoch: 1 run in 1 cell of 1 seed."
    _, interrupted = cell(tmp_path, "adam", 64, 0.05, [0.98, 0.98], epochs=1)
    interrupted.update(status="interrupted")
    assert said(tmp_path)[0] == "lenet on mnist, 1 epoch: 2 runs in 2 cells of 1 seed; 1 is missing."


@pytest.mark.parametrize(
    ("wrong", "better"),
    [
        ((5000, 100), "significantly better than all others"),
        ((101, 100), "not significantly better than any other"),
        ((5000, 101, 100), "significantly better than 1 of the 2 others"),
    ],
)
def test_the_best_is_compared_with_none_some_or_all(wrong: tuple[int, ...], better: str, tmp_path: Path) -> None:
    labels = np.zeros(10_000, np.uint8)
    for number, optimizer in zip(wrong, ("sgd", "adagrad", "adam"), strict=False):
        (run,) = cell(tmp_path, optimizer, 64, 0.05, [1 - number / 10_000])
        run.write_predictions((np.arange(10_000) < number).astype(np.uint8), labels, 10)
    (best,) = [each for each in said(tmp_path) if each.startswith("Best cell")]
    assert best.endswith(f"; {better}, by optimizer and batch size.")


@pytest.mark.parametrize(
    ("verdicts", "counts"),
    [
        (("holds",), "1 holds, 0 do not, 0 cannot be told"),
        (("holds", "holds", "does not hold"), "2 hold, 1 does not, 0 cannot be told"),
        (("does not hold", "does not hold", "cannot be told"), "0 hold, 2 do not, 1 cannot be told"),
    ],
)
def test_claims_are_counted(verdicts: tuple[str, ...], counts: str, tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    assert said(tmp_path, verdicts)[-1] == (f"Its claims: {counts}.")
