import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, MultiStepLR

from src.instantiate import instantiate
from src.schedules import Cosine, Exponential, GrowBatch, Schedule, Step
from src.schedules.torch_scheduler import new_schedule
from tests.helpers.commands import ROOT
from tests.helpers.schedulers import stepped

EPOCHS = 12


def torchs(scheduler: type[LRScheduler], **arguments: object) -> list[float]:
    return [lr for lr, _ in stepped(scheduler, EPOCHS, 1.0, **arguments)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Step(EPOCHS, milestones=[3, 8], factor=5), torchs(MultiStepLR, milestones=[3, 8], gamma=1 / 5)),
        (Exponential(EPOCHS, gamma=0.7), torchs(ExponentialLR, gamma=0.7)),
        (Cosine(EPOCHS), torchs(CosineAnnealingLR, T_max=EPOCHS)),
        (Schedule(EPOCHS), [1.0] * EPOCHS),
    ],
)
def test_equals_torchs_scheduler(ours: Schedule, theirs: list[float]) -> None:
    assert [ours.lr_factor(epoch) for epoch in range(EPOCHS)] == pytest.approx(theirs, rel=1e-12)


@given(st.integers(1, 30), st.integers(1, 30))
def test_warmup_rises_linearly_to_the_lr(warmup: int, rest: int) -> None:
    for schedule in (Schedule, Exponential, Cosine):
        factors = [schedule(warmup + rest, warmup).lr_factor(epoch) for epoch in range(warmup + rest)]
        rises = [after - before for before, after in pairwise(factors[: warmup + 1])]
        assert factors[warmup] == pytest.approx(1)
        assert rises == pytest.approx([1 / (warmup + 1)] * warmup)
        assert all(math.isfinite(factor) and 0 < factor <= 1 for factor in factors)


def test_the_batch_grows_where_step_would_divide_the_lr() -> None:
    grow, step = GrowBatch(20, milestones=[10, 15], factor=5), Step(20, milestones=[10, 15], factor=5)
    for epoch in range(20):
        assert grow.lr_factor(epoch) == 1
        assert grow.batch_factor(epoch) == pytest.approx(1 / step.lr_factor(epoch))
        assert step.batch_factor(epoch) == 1
    assert [grow.batch_factor(epoch) for epoch in (9, 10, 14, 15)] == [1, 5, 5, 25]


@pytest.mark.parametrize(
    ("schedule", "arguments", "complaint"),
    [
        (Step, {"milestones": [5, 12]}, "epoch 12 is never reached with epochs=12"),
        (Step, {"milestones": [5, 13, 12]}, "epoch 13 is never reached with epochs=12; try schedule.milestones=.6."),
        (Step, {"milestones": [12], "warmup": 8}, "epoch 12 is never reached .*; try schedule.milestones=.9."),
        (Step, {"milestones": [12, 15], "warmup": 11}, "epoch 15 is never reached with epochs=12; try epochs=16"),
        (Step, {"milestones": [0]}, "milestones=0"),
        (Step, {"milestones": "10"}, "list of epochs"),
        (GrowBatch, {"factor": 1}, "factor=1"),
        (Exponential, {"gamma": 0}, "gamma=0"),
        (Exponential, {"gamma": True}, "gamma=True"),
        (Exponential, {"gamma": math.nan}, "gamma=nan"),
        (Cosine, {"warmup": 12}, "fewer than epochs=12"),
        (Cosine, {"warmup": -1}, "warmup=-1"),
    ],
)
def test_wrong_arguments_are_errors(schedule: type[Schedule], arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        schedule(EPOCHS, **arguments)  # type: ignore[arg-type]


def test_the_documented_schedule_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(
        r"```(?:python|yaml)\n# (\S+)\n(.*?)```", (ROOT / "docs" / "schedules.md").read_text(), re.DOTALL
    )
    files = {name.rpartition("/")[2]: text for name, text in blocks}
    (tmp_path / "power.py").write_text(files["power.py"])
    monkeypatch.syspath_prepend(tmp_path)
    schedule = instantiate("schedule", dict(OmegaConf.create(files["power.yaml"])), Schedule, epochs=4)
    assert [schedule.lr_factor(epoch) for epoch in range(4)] == pytest.approx([1, 9 / 16, 4 / 16, 1 / 16])


def test_the_documented_pictures_are_those_of_the_schedules() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([▁-█]{20})` ", (ROOT / "docs" / "schedules.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == {file.stem for file in (ROOT / "conf" / "schedule").iterdir()}
    for name, picture in rows:
        node: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "schedule" / f"{name}.yaml"))
        schedule = new_schedule(node, 20)
        middle = [lrs[len(lrs) // 2] for epoch in range(20) for lrs in [schedule.lrs(1.0, epoch, [10] * 20)]]
        assert picture == "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * lr))] for lr in middle)
