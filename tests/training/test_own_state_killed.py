"""The commands of users, killed at random moments with SIGKILL, with the networks and optimizers of test_own_state."""

import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.helpers.commands import Command, Start, own_choice
from tests.helpers.runs import assert_same, the_run
from tests.training.test_own_state import CASES

pytestmark = pytest.mark.long

EPOCHS, KILLS = 8, 3


@pytest.mark.parametrize("name", CASES)
def test_killed_at_random_moments(
    name: str, tmp_path: Path, small_mnist: Path, train: Command, start_train: Start
) -> None:
    model, optimizer = CASES[name]
    words: tuple[str, ...] = ("data=mnist", "model=mine", "optimizer=mine", f"epochs={EPOCHS}", "lr=0.02")
    own_choice(tmp_path, "model/mine", OmegaConf.to_yaml(model))
    node: dict[str, Any] = {"lr": 0.02, "optimizer": optimizer}
    words += own_choice(tmp_path, "optimizer/mine", f"# @package _global_\n{OmegaConf.to_yaml(node)}")
    assert train(*words, f"output_dir={tmp_path / 'alone'}").returncode == 0
    moments = random.Random(name)
    for _ in range(KILLS):
        process = start_train(tmp_path / "killed", small_mnist, *words)
        assert process.stdout is not None
        for line in process.stdout:
            if re.search(r"epoch +\d+/", line):
                break
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
    ended = train(*words, f"output_dir={tmp_path / 'killed'}")
    assert ended.returncode == 0, ended.stderr
    assert "starts over" not in ended.stderr
    assert_same(the_run(tmp_path / "alone"), the_run(tmp_path / "killed"))
