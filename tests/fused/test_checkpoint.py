"""The checkpoints of a group: one for each run, of the same epoch, with `capturable` as in the settings."""

from pathlib import Path

import pytest
import torch

from src.fused.checkpoint import GroupCheckpointIO
from src.runs.directory import Run


def test_capturable_is_saved_as_in_the_settings(tmp_path: Path) -> None:
    runs = [Run(tmp_path / name) for name in "abc"]
    for run in runs:
        run.directory.mkdir()
    stack = torch.arange(6.0).view(3, 2)
    whole = {
        "epoch": 4,
        "state_dict": {f"members.{number}.model.weight": part for number, part in enumerate(stack)},
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "capturable": True}]},
            {"state": {}, "param_groups": [{"lr": 0.2}]},
            {"state": {}, "param_groups": [{"lr": 0.3, "capturable": True}, {"lr": 0.4, "capturable": True}]},
        ],
        "curves": {0: [{"epoch": 5}], 1: [{"epoch": 5}], 2: [{"epoch": 5}]},
    }
    identities: list[dict[str, str | None]] = [{"digest": name} for name in "abc"]
    group = GroupCheckpointIO(runs, identities, {(0, 0): False, (2, 0): True, (2, 1): False})
    group.save_checkpoint(whole, runs[0].checkpoint)
    found = [torch.load(run.checkpoint, weights_only=True) for run in runs]
    assert [[each.get("capturable") for each in part["optimizer_states"][0]["param_groups"]] for part in found] == [
        [False],
        [None],
        [True, False],
    ]
    assert [part["state_dict"]["model.weight"].tolist() for part in found] == stack.tolist()
    assert [part["curve"] for part in found] == [[{"epoch": 5}]] * 3
    assert [part["digest"] for part in found] == ["a", "b", "c"]

    again = group.load_checkpoint(runs[0].checkpoint, map_location="cpu", weights_only=True)
    assert again["optimizer_states"] == whole["optimizer_states"]
    assert again["curves"] == whole["curves"]
    torch.testing.assert_close(again["state_dict"], whole["state_dict"])
    assert again.keys() == whole.keys()

    del whole["curves"][1]  # type: ignore[attr-defined]  # a run that has ended
    whole["curves"][0] = [{"epoch": 6}]  # type: ignore[index]
    group.save_checkpoint(whole, runs[0].checkpoint)
    assert [torch.load(run.checkpoint, weights_only=True)["curve"][-1]["epoch"] for run in runs] == [6, 5, 5]

    whole["epoch"] = 5
    group.save_checkpoint(whole, runs[0].checkpoint)
    with pytest.raises(ValueError, match=r"from different epochs: \[4, 5\]"):
        group.load_checkpoint(runs[0].checkpoint, map_location="cpu", weights_only=True)
