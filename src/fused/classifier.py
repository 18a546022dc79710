"""The LightningModule of a group: several classifiers, trained together."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from src.fused.compatibility import off_gpu_state
from src.fused.cuda_graphs import CudaGraphs, Steps
from src.fused.datamodule import Block
from src.fused.seed_group import SeedGroup
from src.fused.verification import (
    TOLERANCE,
    GroupState,
    NotReproduced,
    Verification,
    graph_difference,
    stack_differences,
)
from src.training.classifier import Classifier
from src.training.lightning import LightningModule


class GroupClassifier(LightningModule):
    """Trains its members as each would be trained alone; each keeps its own optimizer, of any class and lr."""

    def __init__(self, seed_groups: Sequence[SeedGroup], verify: bool = True) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.seed_groups, self.verify = seed_groups, verify
        self.verification = Verification()
        self.members = nn.ModuleList(member for seed_group in seed_groups for member in seed_group.members)

    @property
    def training_members(self) -> list[int]:
        """Numbers of the members that the current epoch trains."""
        each = (member in seed_group.training for seed_group in self.seed_groups for member in seed_group.members)
        return [number for number, is_training in enumerate(each) if is_training]

    def configure_optimizers(self) -> list[Optimizer]:
        return [member.optimizer for member in self.classifiers]

    def on_fit_start(self) -> None:
        self.steps = CudaGraphs(self._step, self.device, self._capture_blocker, self._check if self.verify else None)

    def on_train_epoch_start(self) -> None:
        for seed_group in self.seed_groups:
            seed_group.begin_epoch(self.current_epoch)
        groups = [group for member in self.classifiers for group in member.optimizer.param_groups]
        scheduled = [(group["lr"], group.get("momentum"), group.get("betas")) for group in groups]
        self.steps.expect(self.training_members, scheduled)
        self.updates = 0
        self.started = time.perf_counter()

    def training_step(self, block: Block, batch_idx: int) -> None:
        if self.verify and not self.verification.stack:
            self._verify_stacks(block[0][0])
        for of_a_size in block:
            self.steps(of_a_size)
            self.updates += len(of_a_size)

    def _verify_stacks(self, minibatch: Tensor) -> None:
        """Raise NotReproduced if the gradients on a minibatch (S, B) are not those of the networks by themselves."""
        for seed_group, indices in zip(self.seed_groups, minibatch, strict=True):
            self.verification.stack += stack_differences(seed_group, indices, self.current_epoch)
        wrong = {
            number: difference
            for number, difference in enumerate(self.verification.stack)
            if not difference <= TOLERANCE and self.classifiers[number].finite
        }
        if wrong:
            raise NotReproduced(wrong)

    def _check(self, direct: Steps, replay: Steps, minibatches: Tensor) -> str:
        """Train on minibatches, and return the reason why the replay cannot be trusted, or an empty string."""
        metrics = [metrics for seed_group in self.seed_groups for metrics in seed_group.metrics.values()]
        difference = graph_difference(GroupState(self.classifiers, metrics), direct, replay, minibatches)
        self.verification.graph = max(self.verification.graph or 0.0, difference)
        if difference <= TOLERANCE:
            return ""
        return (
            f"replayed updates differ from those of the same steps called one by one, by {difference:.0%} of their size"
        )

    def _step(self, minibatch: Tensor) -> None:
        """Update all members on minibatches of indices (S, B), one for each of S seeds."""
        for seed_group, indices in zip(self.seed_groups, minibatch, strict=True):
            seed_group.update(indices)

    def _capture_blocker(self) -> str:
        """Return the reason why steps cannot be captured, or an empty string."""
        return next(filter(None, map(off_gpu_state, self.configure_optimizers())), "")

    def on_validation_start(self) -> None:
        self.trained = self._time()

    def validation_step(self, block: Block, batch_idx: int, dataloader_idx: int = 0) -> None:
        for of_a_size in block:
            for indices in of_a_size:
                for seed_group in self.seed_groups:
                    seed_group.score(seed_group.data.eval_splits[dataloader_idx], indices)

    def on_validation_epoch_end(self) -> None:
        runs, ended = len(self.training_members), self._time()
        shares = (self.trained - self.started) / runs, (ended - self.trained) / runs
        for seed_group in self.seed_groups:
            seed_group.end_epoch(self.current_epoch, self.updates, *shares)
            seed_group.evaluate_ended(self.current_epoch + 1 == self.trainer.max_epochs)
        self.trainer.should_stop = not any(member.finite for member in self.classifiers)

    def _time(self) -> float:
        """Wait for the device, and return the time in seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @property
    def classifiers(self) -> list[Classifier]:
        """The members, typed as classifiers."""
        return [member for seed_group in self.seed_groups for member in seed_group.members]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["curves"] = {number: self.classifiers[number].curve for number in self.training_members}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for number, curve in checkpoint["curves"].items():
            self.classifiers[number].curve = curve
