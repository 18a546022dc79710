"""A group's checkpoint: one to Lightning, and on disk to each run the one that it would have alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from src.runs.atomic import replace_files
from src.runs.checkpoint import DIGEST, AtomicCheckpointIO, serialised
from src.runs.directory import Run

Checkpoint = dict[str, Any]


class GroupCheckpointIO(AtomicCheckpointIO):
    """Splits what Lightning saves among the `runs`, each of its digest, and puts together what it loads.

    `capturable` are the optimizers' options of this name, which CUDA graphs want to be true, by a run's number and its
    parameter group's. On disk they are as the settings have them.
    """

    def __init__(self, runs: Sequence[Run], capturable: Mapping[tuple[int, int], bool]) -> None:
        super().__init__(runs[0].digest)
        self.runs, self.capturable = runs, capturable

    def save_checkpoint(self, checkpoint: Checkpoint, path: Any, storage_options: Any = None) -> None:
        """Write those of the runs whose curve it holds."""
        files = {
            self.runs[number].checkpoint: serialised(self._part(checkpoint, number)) for number in checkpoint["curves"]
        }
        replace_files(files)

    def load_checkpoint(self, path: Any, *arguments: Any, **keywords: Any) -> Checkpoint:
        parts = [
            super(GroupCheckpointIO, self).load_checkpoint(run.checkpoint, *arguments, **keywords) for run in self.runs
        ]
        if len(epochs := {part["epoch"] for part in parts}) > 1:
            raise ValueError(f"the checkpoints of a group are of different epochs: {sorted(epochs)}")
        whole = {key: value for key, value in parts[0].items() if key not in ("curve", DIGEST)}
        whole["state_dict"] = {
            f"members.{number}.{name}": weight
            for number, part in enumerate(parts)
            for name, weight in part["state_dict"].items()
        }
        whole["optimizer_states"] = [part["optimizer_states"][0] for part in parts]
        whole["curves"] = {number: part["curve"] for number, part in enumerate(parts)}
        for run, group in self.capturable:
            whole["optimizer_states"][run]["param_groups"][group]["capturable"] = True
        return whole

    def _part(self, whole: Checkpoint, number: int) -> Checkpoint:
        part = {key: value for key, value in whole.items() if key != "curves"}
        part |= {"curve": whole["curves"][number], DIGEST: self.runs[number].digest}
        weights: dict[str, Tensor] = whole["state_dict"]
        prefix = f"members.{number}."
        # Cloned, since a part of a stack would be saved with the whole stack.
        part["state_dict"] = {
            name.removeprefix(prefix): weight.clone() for name, weight in weights.items() if name.startswith(prefix)
        }
        optimizer = whole["optimizer_states"][number]
        groups = [
            group | ({"capturable": self.capturable[number, place]} if (number, place) in self.capturable else {})
            for place, group in enumerate(optimizer["param_groups"])
        ]
        part["optimizer_states"] = [optimizer | {"param_groups": groups}]
        return part
