"""Each claim, decided on synthetic runs with a known verdict."""

from dataclasses import replace
from pathlib import Path

import pytest

from src.config.settings import ConfigChoices, Settings
from src.reporting.assignment.claims import Claim, claims
from src.reporting.assignment.reference import LRS, PUBLISHED, is_the_assignments, reference_cells
from src.reporting.grid import grids
from src.runs.dataframe import read
from src.runs.directory import Run
from tests.reporting.synthetic import cell, write

SEEDS = 10


def around(accuracy: float, spread: float = 0.0002) -> list[float]:
    return [accuracy + spread * (seed % 3 - 1) for seed in range(SEEDS)]


def decided(output: Path) -> list[Claim]:
    (grid,) = grids(read(output))
    return claims(grid)


def verdicts(output: Path) -> list[str]:
    return [claim.verdict for claim in decided(output)]


def as_claimed(output: Path, lrs: tuple[float, ...] = (0.05, 0.005, 0.0005, 5e-7)) -> None:
    """Write runs on which all claims except the sixth hold."""
    settled = {lr: 0.99 if lr == 0.005 else 0.97 for lr in lrs}
    for optimizer in ("sgd", "adagrad", "adam"):
        for batch in (64, 256):
            for lr in lrs:
                accuracy = (
                    settled[lr] - (0.005 if batch == 256 else 0) - (0.004 if batch == 256 and lr == 0.0005 else 0)
                )
                accuracy -= 0.002 if batch == 256 and lr == 0.005 else 0.0
                values: list[object] = [*around(accuracy)]
                if lr == 5e-7:
                    values = [*around(0.1)]
                elif (optimizer, lr) == ("adam", 0.05):
                    values = [None if seed % 2 else 0.1135 for seed in range(SEEDS)]
                elif (optimizer, batch, lr) == ("sgd", 256, 0.0005):
                    values = [[0.5] * 5 + [value] * 15 for value in around(accuracy)]
                cell(output, optimizer, batch, lr, values)
    for schedule, updates in (("step", 200), ("grow_batch", 120)):
        for run in cell(output, "sgd", 64, 0.05, around(0.99), schedule=schedule):
            run.update(figures=run.record()["figures"] | {"updates": updates})


def test_claims_hold_on_runs_as_claimed(tmp_path: Path) -> None:
    as_claimed(tmp_path)
    found = decided(tmp_path)
    assert [claim.verdict for claim in found[:5]] == ["holds"] * 5, found
    assert found[6].verdict == "holds"
    # Adam is not the most robust: it is lost at 0.05, and gains too little at 5e-7 to make up for it.
    assert "adam less sgd" in found[5].numbers


@pytest.mark.parametrize(("tiny", "verdict"), [(0.99, "holds"), (0.1, "does not hold")])
def test_adam_is_robust_where_it_learns_at_all_lrs(tiny: float, verdict: str, tmp_path: Path) -> None:
    for optimizer in ("sgd", "adagrad", "adam"):
        for batch in (64, 256):
            for lr in (0.05, 0.005, 0.0005, 5e-7):
                value = 0.985 if lr == 0.005 else 0.98
                cell(
                    tmp_path,
                    optimizer,
                    batch,
                    lr,
                    around((tiny if optimizer == "adam" else 0.3) if lr == 5e-7 else value),
                )
    assert verdicts(tmp_path)[5] == verdict


def test_without_runs_nothing_can_be_told_and_each_claim_says_what_to_train(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    found = decided(tmp_path)
    assert {claim.verdict for claim in found} == {"cannot be told"}
    for number, study in ((0, "assignment"), (3, "assignment"), (4, "assignment"), (5, "claims"), (6, "batch_growth")):
        assert f"python -m src.train +study={study}" in found[number].numbers


def test_claims_do_not_hold_on_contrary_runs(tmp_path: Path) -> None:
    for optimizer in ("sgd", "adagrad", "adam"):
        for batch in (64, 256):
            more = 0.01 if batch == 256 else 0.0
            cell(tmp_path, optimizer, batch, 0.05, around(0.96 - more))
            cell(tmp_path, optimizer, batch, 0.0005, around(0.96 + more))
            cell(tmp_path, optimizer, batch, 5e-7, around(0.96))
    cell(tmp_path, "sgd", 64, 0.05, around(0.99), schedule="step")
    cell(tmp_path, "sgd", 64, 0.05, around(0.98), schedule="grow_batch")
    assert verdicts(tmp_path) == [
        *("does not hold",) * 5, "cannot be told", "does not hold",
    ]  # fmt: skip


def test_too_few_seeds_are_reported(tmp_path: Path) -> None:
    for batch, accuracy in ((64, 0.99), (256, 0.98)):
        cell(tmp_path, "sgd", batch, 0.05, around(accuracy)[:5])
    smaller = decided(tmp_path)[2]
    assert smaller.verdict == "cannot be told"
    assert "sgd, lr 0.05: 1.00 ± 0.00 points (Holm's p 0.062); 5 seeds are too few, 6 are needed" in smaller.numbers


def test_the_published_figures_are_the_assignments() -> None:
    assert len(PUBLISHED) == 18
    assert PUBLISHED["adam", 64, 0.0005] == (99.735, 99.07)
    assert PUBLISHED["sgd", 256, LRS[2]] == (7.48, 7.37)
    assert PUBLISHED["adagrad", 256, 0.05] == (99.75, 99.00)


def test_differences_from_the_published_figures_are_judged_by_the_noise(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, around(0.9882))
    cell(tmp_path, "sgd", 256, 0.05, around(0.9803))  # one point below
    cell(tmp_path, "adam", 64, 0.05, [None, 0.1135])
    cell(tmp_path, "adagrad", 64, 0.05, [None, 0.9896])  # the second alone would be within noise
    cell(tmp_path, "adagrad", 256, 0.05, [None, None])
    cell(tmp_path, "adagrad", 256, 5e-7, [0.07, 0.07])
    cell(tmp_path, "adam", 256, 5e-7, [0.1, 0.6])
    (grid,) = grids(read(tmp_path))
    found = reference_cells(grid)
    assert is_the_assignments(grid)
    assert {key: each.verdict for key, each in found.items()} == {
        ("sgd", 64, 0.05): "within noise",
        ("sgd", 256, 0.05): "more than noise explains",
        ("adam", 64, 0.05): "at chance in both",
        ("adagrad", 64, 0.05): "too noisy to tell",
        ("adagrad", 256, 0.05): "more than noise explains",
        ("adagrad", 256, 5e-7): "at chance in both",
        ("adam", 256, 5e-7): "too noisy to tell",
    }
    assert found["sgd", 256, 0.05].difference == pytest.approx(-0.01, abs=1e-4)
    assert found["adagrad", 64, 0.05].difference == pytest.approx((0.1 + 0.9896) / 2 - 0.9896)


def test_a_run_that_has_not_ended_decides_nothing(tmp_path: Path) -> None:
    as_claimed(tmp_path, lrs=(0.05, 0.0005, 5e-7))
    before = verdicts(tmp_path)
    for optimizer, batch, lr in (("sgd", 64, 0.005), ("adam", 256, 0.005)):
        (running,) = cell(tmp_path, optimizer, batch, lr, [0.9])
        running.update(status="running")
    assert verdicts(tmp_path) == before
    for schedule in ("step", "grow_batch"):
        for run in tmp_path.glob("mnist/lenet/sgd-bs64-lr0.05-*"):
            record = Run(run).record()
            if record["names"]["schedule"] == schedule:
                Run(run).update(status="failed")
    assert verdicts(tmp_path)[6] == "cannot be told"


def test_one_seed_decides_nothing_about_settings(tmp_path: Path) -> None:
    for optimizer in ("sgd", "adagrad", "adam"):
        for batch in (64, 256):
            for lr in (0.05, 0.0005):
                late = [0.5] * 5 + [0.98] * 15 if (optimizer, batch, lr) == ("sgd", 256, 0.0005) else 0.98 - batch / 1e5
                cell(tmp_path, optimizer, batch, lr, [late])
    for schedule, updates in (("step", 200), ("grow_batch", 120)):
        (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.99], schedule=schedule)
        run.update(figures=run.record()["figures"] | {"updates": updates})
    found = verdicts(tmp_path)
    assert (found[1], found[2], found[3], found[5], found[6]) == ("cannot be told",) * 5


def test_a_stray_run_of_another_momentum_leaves_the_others_their_name(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, around(0.98))
    settings = Settings(**cell(tmp_path, "sgd", 256, 0.05, [0.98])[0].record()["settings"])
    stray = replace(settings, optimizer=settings.optimizer | {"momentum": 0.5})
    write(tmp_path, stray, ConfigChoices("lenet", "sgd", "constant"), 0.9)
    (grid,) = grids(read(tmp_path))
    assert grid.optimizers == ["sgd", "sgd momentum 0.5"]
    assert ("sgd", 256, 0.05) in grid.cells


def test_a_batch_that_grows_must_need_fewer_updates(tmp_path: Path) -> None:
    for schedule, updates in (("step", 200), ("grow_batch", 200)):
        for run in cell(tmp_path, "sgd", 64, 0.05, around(0.99), schedule=schedule):
            record = run.record()
            run.update(figures=record["figures"] | {"updates": updates})
    assert verdicts(tmp_path)[6] == "does not hold"
