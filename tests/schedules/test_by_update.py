"""Schedules by update equal the formulas of torch's and Hugging Face's schedulers, and refuse what makes no sense."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, PolynomialLR

from src.schedules import CosineByUpdate, Exponential, Polynomial, Schedule, Step, Trapezoid
from src.schedules.schedule import updates_of
from tests.helpers.schedulers import stepped

UPDATES = [5, 5, 2]  # the batch has grown in the last epoch
LR = 0.3


def all_lrs(schedule: Schedule, updates: list[int] = UPDATES) -> list[float]:
    parts = [schedule.lrs(LR, epoch, updates) for epoch in range(len(updates))]
    assert [len(part) for part in parts] == updates
    return [lr for part in parts for lr in part]


def torchs(scheduler: type[LRScheduler], **arguments: object) -> list[float]:
    return [lr for lr, _ in stepped(scheduler, sum(UPDATES), LR, **arguments)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Polynomial(3, final=0.1), torchs(LinearLR, start_factor=1.0, end_factor=0.1, total_iters=12)),
        (Polynomial(3, power=3), torchs(PolynomialLR, power=3, total_iters=12)),
        (CosineByUpdate(3), torchs(CosineAnnealingLR, T_max=12)),
        (CosineByUpdate(3, final=0.2), torchs(CosineAnnealingLR, T_max=12, eta_min=0.2 * LR)),
    ],
)
def test_equals_torchs_scheduler(ours: Schedule, theirs: list[float]) -> None:
    assert all_lrs(ours) == pytest.approx(theirs, rel=1e-6)


def test_the_warm_up_is_in_updates_a_share_of_them_or_epochs() -> None:
    four = [LR * rising / 5 for rising in (1, 2, 3, 4)]
    decay = [LR * (1 - update / 8) for update in range(8)]  # transformers.get_linear_schedule_with_warmup
    assert all_lrs(Polynomial(3, warmup_updates=4)) == pytest.approx(four + decay)
    assert all_lrs(Polynomial(3, warmup_updates=1 / 3)) == pytest.approx(four + decay)
    five = [LR * rising / 6 for rising in (1, 2, 3, 4, 5)]
    assert all_lrs(Polynomial(3, warmup=1)) == pytest.approx(five + [LR * (1 - update / 7) for update in range(7)])


def test_a_schedule_by_epoch_may_warm_up_by_update() -> None:
    step = all_lrs(Step(3, warmup_updates=7, milestones=[1], factor=10))
    factors = [1] * 5 + [0.1] * 7
    assert step == pytest.approx([LR * min(1, (k + 1) / 8) * factors[k] for k in range(12)])
    assert Exponential(3).lrs(LR, 1, UPDATES) == [LR * 0.9]  # one for the epoch


def test_a_trapezoid_rises_stays_and_falls() -> None:
    expected = [LR / 3, 2 * LR / 3, *[LR] * 6, LR, 0.775 * LR, 0.55 * LR, 0.325 * LR]
    assert all_lrs(Trapezoid(3, warmup_updates=2, cooldown=0.4, final=0.1)) == pytest.approx(expected)
    assert all_lrs(Trapezoid(3, warmup_updates=2, cooldown=4, final=0.1)) == pytest.approx(expected)
    assert all_lrs(Trapezoid(3, cooldown=0)) == [LR] * 12


@given(
    st.sampled_from([Polynomial, CosineByUpdate, Trapezoid]), st.integers(1, 400), st.floats(0, 0.99), st.floats(0, 1)
)
def test_it_rises_to_the_lr_and_never_rises_again(cls: Any, updates: int, warm: float, final: float) -> None:
    lrs = all_lrs(cls(1, warmup_updates=warm, final=final), [updates]) if round(warm * updates) < updates else [LR]
    top = lrs.index(max(lrs))
    assert lrs[top] == pytest.approx(LR)
    assert all(after >= before for before, after in pairwise(lrs[: top + 1]))
    assert all(after <= before + 1e-12 for before, after in pairwise(lrs[top:]))
    assert lrs[-1] >= final * LR * (1 - 1e-12) or len(lrs) <= round(warm * updates) + 1


@given(st.integers(1, 300), st.integers(1, 400))
def test_the_number_of_updates_counts_the_last_smaller_minibatch(images: int, batch_size: int) -> None:
    assert updates_of(Schedule(2), batch_size, images) == [math.ceil(images / min(batch_size, images))] * 2


@pytest.mark.parametrize(
    ("cls", "arguments", "complaint"),
    [
        (Schedule, {"warmup_updates": -1}, "warmup_updates=-1: must be a number, 0 or more"),
        (Schedule, {"warmup_updates": 1.5}, "warmup_updates=1.5: must be a whole number of updates, or a share"),
        (Schedule, {"warmup_updates": True}, "warmup_updates=True"),
        (Schedule, {"warmup_updates": 12}, "must be fewer than the run's 12 updates"),
        (Polynomial, {"warmup": 1, "warmup_updates": 3}, "give only one of them"),
        (Polynomial, {"final": 1.1}, "final=1.1: must be a number, from 0 to 1"),
        (Polynomial, {"power": math.inf}, "power=inf"),
        (CosineByUpdate, {"final": "low"}, "final=low"),
        (Trapezoid, {"cooldown": 12, "warmup_updates": 2}, "must be at most the 10 updates after the warm-up"),
    ],
)
def test_wrong_arguments_are_errors(cls: Any, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        all_lrs(cls(3, **arguments))
