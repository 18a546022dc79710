"""Checkpoints of a group: one for Lightning, but on disk one per run, the same as of a run trained alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from src.files import replace_files
from src.runs.checkpoint import serialised
from src.runs.directory import Run
from src.training.checkpoint_io import AtomicCheckpointIO

Checkpoint = dict[str, Any]


class GroupCheckpointIO(AtomicCheckpointIO):
    """Splits a checkpoint that Lightning saves among the `runs`, each with its identity, and merges them on loading.

    CUDA graphs need the optimizer option `capturable` to be true, but on disk it is as set in the settings. The
    argument `capturable` holds the set values by the numbers of a run and of a parameter group.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        identities: Sequence[dict[str, str | None]],
        capturable: Mapping[tuple[int, int], bool],
    ) -> None:
        super().__init__(identities[0])
        self.runs, self.identities, self.capturable = runs, identities, capturable

    def save_checkpoint(self, checkpoint: Checkpoint, path: Any, storage_options: Any = None) -> None:
        """Write the checkpoints of the runs whose curves it holds."""
        files = {
            self.runs[number].checkpoint: serialised(self._part(checkpoint, number)) for number in checkpoint["curves"]
        }
        replace_files(files)

    def load_checkpoint(self, path: Any, *arguments: Any, **keywords: Any) -> Checkpoint:
        # Not the inherited method: a group needs the optimizers' states, and no snapshot.
        parts = [TorchCheckpointIO.load_checkpoint(self, run.checkpoint, *arguments, **keywords) for run in self.runs]
        if len(epochs := {part["epoch"] for part in parts}) > 1:
            raise ValueError(f"the checkpoints of a group are from different epochs: {sorted(epochs)}")
        whole = {key: value for key, value in parts[0].items() if key not in ("curve", "snapshot", *self.identity)}
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
        part |= {"curve": whole["curves"][number], **self.identities[number]}
        weights: dict[str, Tensor] = whole["state_dict"]
        prefix = f"members.{number}."
        # Cloned, since saving a view of a stack would save the whole stack.
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
