"""A classifier that also measures, once an epoch, what limits its learning rate and batch size."""

import copy
import math
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import LBFGS, Optimizer

from src.config.settings import Probe
from src.errors import UserError, one_line
from src.native.build import without_native_code
from src.native.chain import chain_of
from src.probe.critical_lr import critical_factor
from src.probe.noise_scale import GradientMoments, moments, noise_scale
from src.probe.sharpness import scaling, sharpness, stability_limit
from src.runs.record import Row
from src.schedules import Schedule
from src.training.classifier import Classifier
from src.training.datamodule import PROBE, Block, DataModule
from src.training.lightning import isolate_rng
from src.training.metrics import EpochMetrics

OF_MINIBATCH = 128  # images of the minibatch that are evaluated along the update, at most
IMAGES, SHARE = 1024, 0.05  # images whose gradients are measured: so many, or this share of a small training set
CHUNKS = 4  # gradients that are compared


class ProbedClassifier(Classifier):
    """Measures on copies of the network, so that training is the same, bit for bit.

    A probe takes the weights before and after an update. It measures the critical learning rate along the update, by
    the loss of the update's own minibatch, and the gradients of images drawn from the training set. Random operations,
    such as dropout, are those of the update in all evaluations along it. Raises UserError for LBFGS.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, schedule: Schedule, lr: float, seed: int, probe: Probe
    ) -> None:
        super().__init__(model, optimizer, schedule, lr, seed)
        if isinstance(optimizer, LBFGS):
            raise UserError(
                f"probe={str(probe).lower()}: LBFGS evaluates a minibatch several times in an update; leave probe out"
            )
        try:
            copy.deepcopy(model)
        except Exception as error:  # the user's network may raise anything
            raise UserError(f"probe={str(probe).lower()}: the network cannot be copied: {one_line(error)}") from error
        self.probe = probe
        if any(isinstance(layer, _DropoutNd) and layer.p > 0 for layer in model.modules()):
            print("probe: the critical learning rate is measured with one dropout mask per update", file=sys.stderr)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        data, epoch = self.data, self.current_epoch
        self.until_probe = -(-len(data.splits["train"]) // data.batch_size_in(epoch)) // 2  # updates
        self.draws = np.random.default_rng((self.seed, epoch, PROBE))
        self.moments = GradientMoments(math.nan, math.nan)
        self.factor = self.eigenvalue = math.nan
        self.probed_lr, self.limit = self.rates.columns["lr"], math.nan
        self.probe_seconds = 0.0

    def train_on(self, block: Block) -> tuple[Tensor, Tensor]:
        at, self.until_probe = self.until_probe, self.until_probe - len(block)
        if at not in range(len(block)):
            return super().train_on(block)
        results = [super().train_on(block[:at])] if at else []
        results.append(self._train_and_measure(block[at : at + 1]))
        if at + 1 < len(block):
            results.append(super().train_on(block[at + 1 :]))
        losses, correct = zip(*results, strict=True)
        return torch.cat(losses), torch.stack(correct).sum()

    def _train_and_measure(self, minibatch: Block) -> tuple[Tensor, Tensor]:
        before, device = _flat(self.model), minibatch.split.images.device
        random = _generator(device).get_state()
        losses, correct = super().train_on(minibatch)
        self.probed_lr, self.limit = self.rates.columns["lr"], stability_limit(self.optimizer)
        if bool(losses.isfinite()):
            began = time.perf_counter()
            with isolate_rng(include_cuda=device.type == "cuda"):
                few = Block(minibatch.split, [minibatch.order[0][:OF_MINIBATCH]])
                self._measure(before, few, random)
            self.probe_seconds += time.perf_counter() - began
        return losses, correct

    def _measure(self, before: Tensor, minibatch: Block, random: Tensor) -> None:
        """Measure between the weights before an update and those after it.

        `random` is the state of the random generator before the update.
        """
        network, generator = copy.deepcopy(self.model), _generator(before.device)
        weights, step = _trained(network), _flat(network) - before
        at = before.clone()
        vector_to_parameters(at, weights)  # they become views of it

        @torch.no_grad()
        def move(factor: float) -> None:
            torch.add(before, step, alpha=factor, out=at) if factor else at.copy_(before)  # 0 x infinity is not 0

        @torch.no_grad()
        def along(factor: float) -> float:
            move(factor)
            generator.set_state(random)  # `torch.manual_seed` takes longer than a small network's forward pass
            metrics = EpochMetrics(before.device)
            metrics.evaluate(network, minibatch)
            return metrics.loss.item() / sum(minibatch.sizes)

        self.factor = critical_factor(along, self._guess())
        generator.manual_seed(int(self.draws.integers(2**31)))
        if len(chunks := self._chunks()) > 1:
            move(0.0)
            gradients = (_gradient(network, weights, chunk) for chunk in chunks)
            self.moments = moments(gradients, sum(chunks[0].sizes))
        if self.probe == "sharpness":
            move(1.0)
            half = map(_images_and_labels, chunks[: CHUNKS // 2])  # since it takes many passes
            images, labels = (torch.cat(parts) for parts in zip(*half, strict=True))
            scale = scaling(self.optimizer, _trained(self.model))
            try:
                with without_native_code():
                    self.eigenvalue = sharpness(lambda: cross_entropy(network(images), labels), weights, scale)
            except RuntimeError as error:  # an operator without a second derivative
                raise UserError(
                    f"probe=sharpness: the network has no Hessian: {one_line(error)}; use probe=true"
                ) from error

    def _chunks(self) -> list[Block]:
        """Draw training images, augmented as in training, in chunks of one size, two or more images each."""
        train = self.data.splits["train"]
        size = max(2, min(IMAGES, int(SHARE * len(train))) // CHUNKS)
        drawn = self.draws.choice(len(train), min(CHUNKS, len(train) // size) * size, replace=False)
        return [Block(train, [indices]) for indices in torch.from_numpy(drawn).split(size)]

    def _guess(self) -> float:
        """Return the factor that follows from the last epoch's critical lr."""
        lr = self.optimizer.param_groups[0]["lr"]
        factor = self.curve[-1].get("critical_lr", 0.0) / lr if self.curve and lr else 0.0
        return factor if 0 < factor < math.inf else 1.0

    def add_row(
        self, epoch: int, figures: Row, updates: int, data: DataModule, seconds: float, evaluation_seconds: float
    ) -> None:
        """Add an epoch's row, whose training time is without the probes."""
        super().add_row(epoch, figures, updates, data, seconds - self.probe_seconds, evaluation_seconds)
        finite = math.isfinite(self.moments.noise + self.moments.squared)
        noise, squared = (self.moments.noise, self.moments.squared) if finite else (math.nan, math.nan)
        self.curve[-1] |= {
            "critical_lr": self.probed_lr * self.factor,
            "gradient_noise": noise,
            "gradient_squared": squared,
            "noise_scale": noise_scale(noise, squared),
            "probe_seconds": self.probe_seconds,
        }
        if self.schedule.by_update:
            self.curve[-1]["probed_lr"] = self.probed_lr
        if self.probe == "sharpness":
            self.curve[-1] |= {
                "sharpness": self.eigenvalue,
                "stability_limit": self.limit,
            }


def _images_and_labels(minibatch: Block) -> tuple[Tensor, Tensor]:
    return next(iter(minibatch))


def _gradient(network: nn.Module, weights: Sequence[nn.Parameter], minibatch: Block) -> Tensor:
    """Return the gradient of a minibatch's mean loss, flat."""
    if chain := chain_of(network, minibatch.split.pixels):
        chain.train(*minibatch.split.augmented(minibatch.order))
        return parameters_to_vector([weight.grad for weight in weights if weight.grad is not None])
    images, labels = _images_and_labels(minibatch)
    loss = cross_entropy(network(images), labels, reduction="none").double().mean()
    return parameters_to_vector(torch.autograd.grad(loss, weights, materialize_grads=True))


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


@torch.no_grad()
def _flat(network: nn.Module) -> Tensor:
    return parameters_to_vector(_trained(network))


def _generator(device: torch.device) -> torch.Generator:
    """Return the generator that dropout uses."""
    return torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator
