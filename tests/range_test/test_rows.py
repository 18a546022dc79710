"""Rows and intervals of range tests."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from src.config.selection import select
from src.range_test.plan import Lrs, plan
from src.range_test.points import Numbers
from src.range_test.result import Result
from src.range_test.row import Row, rows
from src.range_test.table import next_command


def test_runs_that_differ_in_lr_epochs_schedule_and_seed_are_one_row() -> None:
    of_study = rows(select(["+study=assignment", "seed=0,1"]))
    assert [(row.names.optimizer, row.settings.batch_size, row.seeds) for row in of_study] == [
        (optimizer, batch, (0, 1)) for optimizer in ("sgd", "adagrad", "adam") for batch in (64, 256)
    ]
    (row,) = rows(select(["data=digits", "lr=1,2", "epochs=3,4", "schedule=constant,cosine", "seed=5,2,5"]))
    assert row.seeds == (5, 2)
    assert (row.settings.lr, row.settings.epochs, row.settings.seed, row.names.schedule) == (1.0, 1, 0, "constant")
    (same,) = rows(select(["data=digits", "schedule.warmup=3"]))
    assert same.file == row.file
    few, many = rows(select(["data=digits", "model=mlp", "model.hidden=[5],[9]"]))
    assert (few.label, many.label) == (" model.hidden [5]", " model.hidden [9]")


def test_each_data_set_is_loaded_once() -> None:
    tests = plan(rows(select(["data=digits", "batch_size=64,1000", "model=lenet,mlp", "seed=0,1"])), Lrs())
    assert len(tests) == 8
    assert len({id(test.images) for test in tests}) == 1
    assert {len(test.lrs) for test in tests} == {100}


@pytest.mark.parametrize(("images", "batch", "steps"), [(60000, 64, 938), (60000, 1024, 100), (60000, 8, 1000)])
def test_steps_are_the_minibatches_of_an_epoch(images: int, batch: int, steps: int) -> None:
    assert len(Lrs().of(images, batch)) == steps
    assert len(Lrs(steps=77).of(images, batch)) == 77
    assert Lrs().of(images, batch)[[0, -1]].tolist() == [1e-7, 10]


LRS = np.geomspace(1e-7, 10, 938)


def result(*losses: Numbers) -> Result:
    return Result(replace(the_row(), seeds=tuple(range(len(losses)))), LRS, losses, "0" * 64)


@cache
def the_row() -> Row:
    (row,) = rows(select(["data=digits", "optimizer=sgd"]))
    return row


def curve(falls: float, rises: float = 1e9) -> Numbers:
    fall, rise = (1 / (1 + np.exp(-4 * np.log(LRS / lr))) for lr in (falls, rises))
    return 2.3 - 2 * fall + 2 * rise


def test_the_interval_lies_between_the_fall_and_half_of_the_divergence_of_all_seeds() -> None:
    early, late = result(curve(1e-3, 0.1)), result(curve(2e-3, 0.2))
    (first,), (second,) = early.points, late.points
    assert first.diverges is not None
    assert second.diverges == pytest.approx(2 * first.diverges, rel=0.03)
    both = result(curve(2e-3, 0.2), curve(1e-3, 0.1))
    assert both.interval == early.interval
    expected = min(first.valley or 9, first.steepest or 9), first.diverges / 2
    assert both.interval == tuple(float(f"{end:.2g}") for end in expected)
    assert both.seen == ""


def test_an_interval_is_never_empty() -> None:
    never = np.full(938, 2.3)
    steep = curve(1e-3)
    steep[LRS > 1.1e-3] = np.nan
    for losses in ([never], [steep], [np.array([np.nan])], [np.array([2.3, np.nan])], [curve(5)], [never, steep]):
        found = result(*losses)
        low, high = found.interval
        assert 0 < low <= high / 2.9, found
        assert high <= 10
    assert result(never).interval == (1e-7, 5)
    assert result(steep).interval[1] <= (result(steep).points[0].diverges or 0)
    assert result(curve(1e-3), never).seen == (
        "seed 0: falls up to lr 10 without diverging; seed 1: loss does not fall up to lr 10"
    )


def test_the_next_command_trains_three_lrs_of_the_interval() -> None:
    found = result(curve(1e-3, 0.1), curve(1e-3, 0.1))
    command = next_command(found).split()
    assert command[:4] == ["python", "-m", "src.train", "-m"]
    selected = select(command[4:]).runs
    assert len(selected) == 6
    lrs = sorted({settings.lr for settings, _ in selected})
    assert lrs == pytest.approx(np.geomspace(*found.interval, 3), rel=0.05)
    assert {(settings.seed, names.optimizer) for settings, names in selected} == {(0, "sgd"), (1, "sgd")}
