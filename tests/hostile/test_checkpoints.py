"""Checkpoints whose weights are not those of a network end in one line, and a run that has one starts over."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.errors import UserError
from src.inference.trained import load_network
from src.runs.checkpoint import serialised
from src.runs.directory import Run
from tests.helpers.runs import assert_same
from tests.training.test_own_state import MLP, Killed, settings, train

pytestmark = pytest.mark.usefixtures("blank_error_figures")

FAULTS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "NaN": (lambda weight: weight.fill_(torch.nan), "is not a number, though its losses are"),
    "float64": (lambda weight: weight.double(), "holds torch.float64, not torch.float32"),
    "sparse": (lambda weight: weight.to_sparse(), "is sparse; weights are dense"),
    "half": (lambda weight: weight.half(), "holds torch.float16"),
    "no tensor": (lambda weight: "weights", "fit"),
    "another shape": (lambda weight: weight[:1], "fit"),
}
ADAM = {"_target_": "torch.optim.Adam"}
NAME = "model.linear1.weight"


def spoilt(run: Run, fault: str) -> None:
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    checkpoint["state_dict"][NAME] = FAULTS[fault][0](checkpoint["state_dict"][NAME])
    run.checkpoint.write_bytes(serialised(checkpoint))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_is_not_loaded(fault: str, tmp_path: Path) -> None:
    run = train(tmp_path, settings(MLP, ADAM))
    load_network(run.directory)
    spoilt(run, fault)
    with pytest.raises(UserError, match=FAULTS[fault][1]) as raised:
        load_network(run.directory)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_starts_over(fault: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alone = train(tmp_path / "alone", settings(MLP, ADAM))
    with pytest.raises(Killed):
        train(tmp_path / "cut", settings(MLP, ADAM), 2)
    (directory,) = (tmp_path / "cut").glob("*/*/*")
    spoilt(Run(directory), fault)
    capfd.readouterr()
    again = train(tmp_path / "cut", settings(MLP, ADAM))
    said = capfd.readouterr().err
    assert "last.ckpt" in said
    assert "the run starts over" in said
    assert_same(alone.directory, again.directory)
