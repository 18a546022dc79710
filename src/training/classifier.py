"""The LightningModule that wraps a network: training by blocks, figures by the epoch."""

import inspect
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from src.runs.record import Row, finite
from src.schedules import Schedule
from src.training.datamodule import Block, DataModule, epoch_seed
from src.training.lightning import LightningModule
from src.training.metrics import EpochMetrics

Closure = Callable[[], Tensor]


def _with_closure(optimizer: Optimizer) -> Callable[[Closure], object] | None:
    """The optimizer's step as a function of its closure: the argument of that name, else a first that has no default.

    None if it takes none.
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
    """Cross-entropy on the logits of `model`, which maps (B, 1, 28, 28) to (B, 10).

    Optimization is manual and a `training_step` takes a block of minibatches: Lightning's hooks cost as much as a
    small network's arithmetic when they are called for each. Metrics stay on the device until the epoch ends.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, schedule: Schedule, lr: float, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.schedule, self.lr, self.seed = model, schedule, lr, seed
        self.optimizer = optimizer
        # All of these start by calling the closure.
        self.has_torch_step = optimizer.step.__module__.startswith("torch.optim.")
        self.step_with = _with_closure(optimizer)
        self.curve: list[Row] = []  # one row an epoch; part of the checkpoint

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer

    def on_fit_start(self) -> None:
        self.trainer.should_stop = not self.finite  # of a run that is resumed after its end

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))
        self.set_lr(self.current_epoch)
        self.updates = 0
        self.train_metrics = EpochMetrics(self.device)
        self.started = time.perf_counter()

    def set_lr(self, epoch: int) -> None:
        """The optimizer's lr becomes that of an epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self.schedule.lr_factor(epoch)

    def training_step(self, block: Block, batch_idx: int) -> None:
        losses, logits, answers = [], [], []
        for images, labels in block:
            loss, outputs = self._update(images, labels)
            losses.append(loss)
            logits.append(outputs)
            answers.append(labels)
        self.updates += len(losses)
        sizes = torch.tensor([len(labels) for labels in answers], device=self.device)
        self.train_metrics.add(torch.stack(losses).double() * sizes, torch.cat(logits), torch.cat(answers))

    def _update(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the optimizer on a minibatch; the loss and the logits before it."""
        evaluations: list[tuple[Tensor, Tensor]] = []  # LBFGS evaluates more than once
        evaluate = partial(self._evaluate, images, labels, evaluations)
        if self.has_torch_step:
            self.optimizer.step(evaluate)  # type: ignore[arg-type]  # typed as of a float; a tensor is meant
        elif self.step_with:
            self.step_with(self._evaluated(evaluate))
        else:
            evaluate()
            self.optimizer.step()
        return evaluations[0]

    def _evaluated(self, evaluate: Closure) -> Closure:
        """Call `evaluate`; the closure whose first call has that result, if no parameter has changed until then.

        An optimizer that ignores its closure takes the gradients that it finds. One that calls it gets no second
        evaluation, which would draw other random numbers. One that moves the parameters before its first call, as SAM
        does, needs a new one. Parameters are compared by value, since `Tensor._version` does not count what is done to
        `.data`, and gradients are put back, since they may have been cleared.
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

    def _evaluate(self, images: Tensor, labels: Tensor, evaluations: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Loss and gradients of a minibatch; what an optimizer calls its closure."""
        self.optimizer.zero_grad()
        logits = self.model(images)
        loss = cross_entropy(logits, labels)
        loss.backward()
        evaluations.append((loss.detach(), logits.detach()))
        return loss

    def on_validation_start(self) -> None:
        (self.train_figures,) = self.train_metrics.figures("train")  # waits for the device: training ends here
        self.trained = time.perf_counter()
        self.eval_metrics = {name: EpochMetrics(self.device) for name in self.data.eval_splits}

    def validation_step(self, block: Block, batch_idx: int, dataloader_idx: int = 0) -> None:
        metrics = self.eval_metrics[self.data.eval_splits[dataloader_idx]]
        for images, labels in block:
            logits = self.model(images)
            metrics.add(cross_entropy(logits, labels, reduction="none").double(), logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Close the epoch, before any callback's `on_train_epoch_end` asks for its row."""
        figures = self.train_figures
        for name, metrics in self.eval_metrics.items():
            figures |= metrics.figures(name)[0]
        seconds, evaluation_seconds = self.trained - self.started, time.perf_counter() - self.trained
        self.add_row(self.current_epoch, figures, self.updates, self.data, seconds, evaluation_seconds)
        self.trainer.should_stop = not self.finite

    def add_row(
        self, epoch: int, figures: Row, updates: int, data: DataModule, seconds: float, evaluation_seconds: float
    ) -> None:
        """Add an epoch of so many updates to the curve."""
        before = self.curve[-1]["updates"] if self.curve else 0
        self.curve.append(
            {"epoch": epoch + 1, **figures}
            | {"lr": self.optimizer.param_groups[0]["lr"], "batch_size": data.batch_size_in(epoch)}
            | {"updates": before + updates, "images_per_second": len(data.splits["train"]) / seconds}
            | {"seconds": seconds, "evaluation_seconds": evaluation_seconds}
        )

    @property
    def data(self) -> DataModule:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def finite(self) -> bool:
        """Whether the losses of the last epoch are, if there is one."""
        return not self.curve or finite(self.curve[-1])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curve = checkpoint["curve"]
