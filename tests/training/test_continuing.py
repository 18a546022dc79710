"""A run of more epochs goes on from a finished one of fewer, and is then the longer run, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.config.settings import Settings
from tests.helpers.runs import assert_same, run_of
from tests.training.test_own_state import IMAGES, MLP, OWN, Killed, train

ADAM: dict[str, Any] = {"_target_": "torch.optim.Adam"}
CONSTANT: dict[str, Any] = {"_target_": "src.schedules.Schedule", "warmup": 1}
STEP: dict[str, Any] = {"_target_": "src.schedules.Step", "milestones": [1], "factor": 5}
COSINE: dict[str, Any] = {"_target_": "src.schedules.Cosine"}


def settings(epochs: int, schedule: dict[str, Any] = CONSTANT, optimizer: dict[str, Any] = ADAM) -> Settings:
    return Settings("mine", 0, "half", MLP, optimizer, schedule, 0.02, 32, epochs, 3)


@pytest.mark.parametrize("schedule", [CONSTANT, STEP])
@pytest.mark.parametrize("optimizer", [ADAM, {"_target_": OWN + "SAM"}])
def test_a_longer_run_goes_on(
    schedule: dict[str, Any], optimizer: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = train(tmp_path / "alone", settings(5, schedule, optimizer))
    short = train(tmp_path / "both", settings(2, schedule, optimizer))
    train(tmp_path / "both", settings(3, schedule, optimizer))
    capfd.readouterr()
    before = short.checkpoint.read_bytes()
    longer = train(tmp_path / "both", settings(5, schedule, optimizer))
    assert "goes on from the 3 epochs of" in capfd.readouterr().err
    assert_same(alone.directory, longer.directory)
    assert len(longer.record()["sessions"]) == 3
    assert short.checkpoint.read_bytes() == before


def test_it_is_killed_and_resumes(tmp_path: Path) -> None:
    alone = train(tmp_path / "alone", settings(5))
    train(tmp_path / "both", settings(2))
    for epoch in (2, 4):
        with pytest.raises(Killed):
            train(tmp_path / "both", settings(5), epoch)
    assert_same(alone.directory, train(tmp_path / "both", settings(5)).directory)


@pytest.mark.parametrize("what", ["schedule", "lr", "data", "code", "unfinished"])
def test_what_differs_begins_anew(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from src.data.images import Images
    from tests.helpers.images import bars

    schedule = COSINE if what == "schedule" else CONSTANT
    optimizer = {"_target_": OWN + "SAM"} if what == "code" else ADAM
    short = settings(3, schedule, optimizer)
    short = replace(short, lr=0.03) if what == "lr" else short
    if what == "unfinished":
        with pytest.raises(Killed):
            train(tmp_path, short, 2)
    else:
        train(tmp_path, short, images=Images(*bars(200, 7), *bars(60, 8)) if what == "data" else IMAGES)
    if what == "code":
        run = run_of(short, tmp_path)
        record = run.record()
        record["sessions"][-1]["code"] = "0" * 16
        run.write(record)
    capfd.readouterr()
    run = train(tmp_path, settings(4, schedule, optimizer))
    assert "goes on" not in capfd.readouterr().err
    assert len(run.record()["sessions"]) == 1
