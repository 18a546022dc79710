"""The LightningModule that trains one network, in blocks of minibatches, with metrics once an epoch."""

import inspect
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from src.generators import seed_all
from src.native.chain import Chain, chain_of
from src.native.gather import Pixels
from src.native.update import native_update
from src.runs.own_code import OwnCode
from src.runs.own_globals import put_back, variables
from src.runs.record import Row, finite
from src.runs.restoring import restore
from src.runs.snapshot import Snapshot
from src.schedules import Schedule
from src.training.datamodule import Block, DataModule, epoch_seed
from src.training.learning_rates import LearningRates
from src.training.lightning import LightningModule
from src.training.metrics import EpochMetrics

Closure = Callable[[], Tensor]
Evaluation = tuple[Tensor, Tensor]  # losses of minibatches, and the number of correct predictions


def _with_closure(optimizer: Optimizer) -> Callable[[Closure], object] | None:
    """Return the optimizer's step as a function of its closure, or None if the step takes no closure.

    The closure is the argument named `closure`, or else a first argument without a default.
    """
    step: Callable[..., object] = optimizer.step
    parameters = inspect.signature(step).parameters
    if "closure" in parameters and parameters["closure"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return lambda closure: step(closure=closure)
    first = next(iter(parameters.values()), None)
    if first is None or first.kind in (first.KEYWORD_ONLY, first.VAR_KEYWORD):
        return None
    return (
        step if first.kind is first.VAR_POSITIONAL or first.default is first.empty or first.name == "closure" else None
    )


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
        # Every step in torch.optim calls the closure first.
        self.has_torch_step = optimizer.step.__module__.startswith("torch.optim.")
        self.step_with = _with_closure(optimizer)
        self.curve: list[Row] = []  # one row per epoch; saved in the checkpoint
        self.code = OwnCode()
        self.unsaved: list[str] = []  # places of state that the checkpoint lacks, so that the run cannot resume from it

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Keep the gradients, which Lightning would clear; an optimizer may hold them in a tensor of its own."""

    def on_fit_start(self) -> None:
        self.trainer.should_stop = not self.finite  # a run may be resumed after it diverged

    def on_train_epoch_start(self) -> None:
        seed_all(epoch_seed(self.seed, self.current_epoch))
        self.set_lr(self.current_epoch)
        self.updates = 0
        self.train_metrics = EpochMetrics(self.device)
        self.started = time.perf_counter()

    def set_lr(self, epoch: int) -> None:
        """Set the optimizer's lr to that of an epoch."""
        self.rates.set(self.lr * self.schedule.lr_factor(epoch))

    def training_step(self, block: Block, batch_idx: int) -> None:
        losses, correct = self.train_on(block)
        self.updates += len(block)
        sizes = torch.tensor(block.sizes, device=losses.device)
        self.train_metrics.add_counted(losses.double() * sizes, correct, sum(block.sizes))

    def train_on(self, block: Block) -> tuple[Tensor, Tensor]:
        """Take an optimizer step on each minibatch; return their losses from before it and the correct predictions."""
        pixels, order = block.split.augmented(block.order)
        chain = chain_of(self.model, pixels)
        # An optimizer that is not torch's may replace what a parameter holds, even between two evaluations.
        current = (lambda: chain) if self.has_torch_step else partial(chain_of, self.model, pixels)
        results: list[Evaluation] = []
        while order:
            # The first update is torch's, since it creates the optimizer's state.
            if chain and (update := native_update(self.optimizer, chain.parameters)):
                results.append(chain.train(pixels, order, update))
                break
            results.append(self._update(partial(self._differentiate, current, pixels, order[:1])))
            order = order[1:]
        losses, correct = zip(*results, strict=True)
        return torch.cat(losses), torch.stack(correct).sum()

    def _update(self, differentiate: Callable[[], Evaluation]) -> Evaluation:
        """Take an optimizer step on a minibatch; return its evaluation from before the step."""
        evaluations: list[Evaluation] = []

        def closure() -> Tensor:
            evaluations.append(differentiate())
            return evaluations[-1][0][0]

        if self.has_torch_step:
            self.optimizer.step(closure)  # type: ignore[arg-type]  # torch's type says float, but a tensor is meant
        elif self.step_with:
            self.step_with(self._evaluated(closure))
        else:
            closure()
            self.optimizer.step()
        return evaluations[0]  # LBFGS evaluates more than once

    def _differentiate(
        self, current: Callable[[], Chain | None], pixels: Pixels, minibatch: Sequence[Tensor]
    ) -> Evaluation:
        """Compute the loss (1,), the correct predictions and the gradients of one minibatch."""
        self.optimizer.zero_grad()
        # Gradients that an optimizer keeps, in order to add to them, are left to autograd.
        if (chain := current()) and all(parameter.grad is None for parameter in chain.parameters):
            return chain.train(pixels, minibatch)
        images, labels = pixels.minibatch(minibatch[0])
        with torch.enable_grad():
            logits = self.model(images)
            loss = cross_entropy(logits, labels)
            loss.backward()
        return loss.detach()[None], (logits.argmax(-1) == labels).sum()

    def _evaluated(self, evaluate: Closure) -> Closure:
        """Call `evaluate` at once, and return a closure whose first call reuses the result if no parameter has changed.

        An optimizer that ignores its closure uses the gradients it finds. One that calls it gets no second evaluation,
        which would draw other random numbers. One that moves the parameters before its first call, as SAM does, gets a
        new evaluation. Parameters are compared by value, since `Tensor._version` does not count changes to `.data`.
        Gradients are restored, since the optimizer may have cleared them.
        """
        first = [evaluate()]
        parameters = list(self.model.parameters())
        values = [parameter.detach().clone() for parameter in parameters]
        gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]

        def closure() -> Tensor:
            loss = first.pop() if first else None
            if loss is None or not all(map(torch.equal, parameters, values)):
                return evaluate()
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            return loss

        return closure

    def on_validation_start(self) -> None:
        (self.train_figures,) = self.train_metrics.figures("train")  # waits for the device: training ends here
        self.trained = time.perf_counter()
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
        before = self.curve[-1]["updates"] if self.curve else 0
        self.curve.append(
            {"epoch": epoch + 1, **figures}
            | {**self.rates.columns, "batch_size": data.batch_size_in(epoch)}
            | {"updates": before + updates, "images_per_second": len(data.splits["train"]) / seconds}
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
        for name, parameter in self.model.named_parameters():
            parameter.grad = roots["gradients"].get(name)

    @property
    def _roots(self) -> dict[str, Any]:
        """The objects that hold state; torch's optimizers begin each update by clearing the gradients."""
        named = [] if self.has_torch_step else self.model.named_parameters()
        gradients = {name: parameter.grad for name, parameter in named if parameter.grad is not None}
        found: dict[str, Any] = {"network": self.model, "optimizer": self.optimizer, "gradients": gradients}
        return found | {"globals": variables(self.code)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {"curve": self.curve, "snapshot": self.snapshot().content, "unsaved": self.unsaved}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curve = checkpoint["curve"]
