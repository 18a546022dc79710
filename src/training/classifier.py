"""The LightningModule that trains one network, in blocks of minibatches, with metrics once an epoch."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from src.generators import seed_all
from src.runs.own_code import OwnCode
from src.runs.own_globals import put_back, variables
from src.runs.record import Row, finite
from src.runs.restoring import restore
from src.runs.snapshot import Snapshot, named
from src.schedules import Schedule
from src.training.datamodule import Block, DataModule, epoch_seed
from src.training.learning_rates import LearningRates
from src.training.lightning import LightningModule
from src.training.metrics import EpochMetrics
from src.training.stepper import Stepper

OF_STATISTICS = 50  # minibatches from which batch statistics of averaged weights are computed


class Classifier(LightningModule):
    """Minimizes the cross-entropy of `model`, which maps images (B, C, H, W) to logits (B, K).

    Optimization is manual, and a `training_step` takes a block of minibatches: called for each minibatch, Lightning's
    hooks would cost as much as a small network's arithmetic. Metrics stay on the device until the epoch ends.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, schedule: Schedule, lr: float, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.schedule, self.lr, self.seed = model, schedule, lr, seed
        self.optimizer, self.rates = optimizer, LearningRates(optimizer, lr)
        self.stepper = Stepper(model, optimizer, self.rates)
        self.lrs: list[float] = []  # of the epoch's updates that are to come, if they differ
        self.momenta: list[float] = []
        self.initial: list[Tensor] = []  # parameters before the first epoch
        self.curve: list[Row] = []  # one row per epoch; saved in the checkpoint
        self.code = OwnCode()
        self.unsaved: list[str] = []  # places of state that the checkpoint lacks, so that the run cannot resume from it

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Keep the gradients, which Lightning would clear; an optimizer may hold them in a tensor of its own."""

    @property
    def has_learned(self) -> bool:
        """False if this is known to be a first epoch that has changed no weight."""
        pairs = zip(self.initial, self.model.parameters(), strict=False)
        return not self.initial or any(not torch.equal(before, now) for before, now in pairs)

    def on_fit_start(self) -> None:
        self.initial = [] if self.curve else [each.detach().clone() for each in self.model.parameters()]
        self.trainer.should_stop = not self.finite  # a run may be resumed after it diverged

    def on_train_epoch_start(self) -> None:
        seed_all(epoch_seed(self.seed, self.current_epoch))
        self.set_mode(training=True)  # first, since a schedule-free optimizer undoes `eval` by the same momentum
        self.set_rates(self.current_epoch, self.data.updates)
        self.updates = 0
        self.train_metrics = EpochMetrics(self.device)
        self.started = time.perf_counter()

    def set_rates(self, epoch: int, updates: Sequence[int]) -> None:
        """Set the optimizer's lr, and a scheduled momentum, for an epoch; `updates` are the numbers of each epoch's."""
        self.lrs, self.momenta = (each(self.lr, epoch, updates) for each in (self.schedule.lrs, self.schedule.momenta))
        self.rates.set(self.lrs[0], *self.momenta[:1])
        if len(self.lrs) == 1:
            self.lrs, self.momenta = [], []

    def training_step(self, block: Block, batch_idx: int) -> None:
        losses, correct = self.train_on(block)
        self.updates += len(block)
        sizes = torch.tensor(block.sizes, device=losses.device)
        self.train_metrics.add_counted(losses.double() * sizes, correct, sum(block.sizes))

    def train_on(self, block: Block) -> tuple[Tensor, Tensor]:
        """Take an optimizer step on each minibatch; return their losses from before it and the correct predictions."""
        now = len(block)
        lrs, self.lrs = self.lrs[:now], self.lrs[now:]
        momenta, self.momenta = self.momenta[:now], self.momenta[now:]
        return self.stepper.train_on(block, lrs, momenta)

    def set_mode(self, training: bool) -> None:
        """Tell an optimizer that has modes, as schedule-free ones do, whether the network is trained or evaluated.

        What is evaluated and saved is then the averaged network. Its batch statistics are computed anew, from the first
        minibatches of the epoch (Defazio et al. 2024, arXiv 2405.15682, and their package's README).
        """
        modes = [getattr(self.optimizer, name, None) for name in ("train", "eval")]
        if not all(map(callable, modes)):
            return
        modes[0 if training else 1]()  # type: ignore[misc]
        if training or not any(
            isinstance(layer, _NormBase) and layer.track_running_stats for layer in self.model.modules()
        ):
            return
        self.model.train()
        with torch.no_grad():
            train = self.data.splits["train"]
            for images, _ in Block(train, self.data.minibatches_of(self.current_epoch)[:OF_STATISTICS]):
                self.model(images)
        self.model.eval()

    def on_validation_start(self) -> None:
        (self.train_figures,) = self.train_metrics.figures("train")  # waits for the device: training ends here
        self.trained = time.perf_counter()
        self.set_mode(training=False)
        self.eval_metrics = {name: EpochMetrics(self.device) for name in self.data.eval_splits}

    def validation_step(self, block: Block, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.eval_metrics[self.data.eval_splits[dataloader_idx]].evaluate(self.model, block)

    def on_validation_epoch_end(self) -> None:
        """Add the epoch's row to the curve, before any callback's `on_train_epoch_end` reads it."""
        figures = self.train_figures
        for name, metrics in self.eval_metrics.items():
            figures |= metrics.figures(name)[0]
        seconds, evaluation_seconds = self.trained - self.started, time.perf_counter() - self.trained
        self.add_row(self.current_epoch, figures, self.updates, self.data, seconds, evaluation_seconds)
        self.trainer.should_stop = not self.finite

    def add_row(
        self, epoch: int, figures: Row, updates: int, data: DataModule, seconds: float, evaluation_seconds: float
    ) -> None:
        """Add an epoch's row to the curve; `updates` counts this epoch's updates."""
        before = self.curve[-1] if self.curve else {"updates": 0, "gradients": 0}
        # A curve of an earlier version has none; a run in a group takes one an update, and counts none itself.
        gradients = before.get("gradients", before["updates"]) + (self.stepper.take_count() or updates)
        self.curve.append(
            {"epoch": epoch + 1, **figures}
            | {**self.rates.columns, "batch_size": data.batch_size_in(epoch)}
            | {
                "updates": before["updates"] + updates,
                "gradients": gradients,
                "images_per_second": len(data.splits["train"]) / seconds,
            }
            | {"seconds": seconds, "evaluation_seconds": evaluation_seconds}
        )

    @property
    def data(self) -> DataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def finite(self) -> bool:
        """True if the last epoch's losses are finite or there is no epoch yet."""
        return not self.curve or finite(self.curve[-1])

    def snapshot(self) -> Snapshot:
        """Return all state of the network and the optimizer."""
        return Snapshot(self._roots)

    def restore(self, snapshot: Any, device: str) -> None:
        """Restore what a snapshot holds. Raises Damaged, and then leaves a part of the state restored."""
        roots = self._roots
        restore(snapshot, roots, device)
        put_back(self.code, roots["globals"])
        self.stepper.create_graph = bool(roots["steps"]["create_graph"])
        for name, parameter in self.model.named_parameters():
            parameter.grad = roots["gradients"].get(name)

    @property
    def _roots(self) -> dict[str, Any]:
        """The objects that hold state; torch's optimizers begin each update by clearing the gradients."""
        named = [] if self.stepper.is_torchs else self.model.named_parameters()
        gradients = {name: parameter.grad for name, parameter in named if parameter.grad is not None}
        # Constants of modules come first, since a network may hold one now and another object later.
        found: dict[str, Any] = {"globals": variables(self.code), "network": self.model, "optimizer": self.optimizer}
        return found | {"gradients": gradients, "steps": {"create_graph": self.stepper.create_graph}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        snapshot = self.snapshot()
        unsaved = self.unsaved + [place for place in named(snapshot.unsaved) if place not in self.unsaved]
        checkpoint |= {"curve": self.curve, "snapshot": snapshot.content, "unsaved": unsaved}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curve = checkpoint["curve"]
