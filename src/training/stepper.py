"""Updates of a network: an optimizer's step on each minibatch of a block, whatever that step wants."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from src.errors import UserError, flat
from src.generators import set_states, states
from src.native.build import without_native_code
from src.native.chain import Chain, chain_of
from src.native.gather import Pixels
from src.native.update import native_update
from src.runs.restoring import restore
from src.runs.snapshot import Snapshot
from src.training.datamodule import Block
from src.training.learning_rates import LearningRates

Closure = Callable[[], Tensor]
Evaluation = tuple[Tensor, Tensor]  # losses of minibatches, and the number of correct predictions
ASKS_FOR_A_GRAPH = re.compile(r"create_graph|grad_fn|does not require grad|not require gradients")  # errors of a step


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


@contextmanager
def _second_derivatives() -> Iterator[None]:
    """Compute without the native operators, which have none, and without torch's warning that a graph may leak."""
    with without_native_code(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")
        yield


class Stepper:
    """Steps of one optimizer on one network. `gradients` counts the gradients that were computed for them.

    An optimizer that needs second derivatives, as AdaHessian does, has an attribute `create_graph` that is true, or its
    first step raises an error that asks for it; the gradients are then part of a graph.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, rates: LearningRates) -> None:
        self.model, self.optimizer, self.rates = model, optimizer, rates
        # Every step in torch.optim calls the closure first.
        self.is_torchs = optimizer.step.__module__.startswith("torch.optim.")
        self._with_closure = _with_closure(optimizer)
        self.create_graph = getattr(optimizer, "create_graph", False) is True
        self.differentiates = False  # whether a step calls `backward` of the loss itself
        self._has_stepped = self.is_torchs or self.create_graph
        self.gradients = 0

    def take_count(self) -> int:
        """Return the number of gradients since the last call."""
        found, self.gradients = self.gradients, 0
        return found

    def train_on(self, block: Block, lrs: Sequence[float] = (), momenta: Sequence[float] = ()) -> tuple[Tensor, Tensor]:
        """Take a step on each minibatch; return their losses from before it and the correct predictions.

        `lrs` and `momenta` are those of the minibatches, if these differ.
        """
        pixels, order = block.split.augmented(block.order)
        chain = chain_of(self.model, pixels)
        # An optimizer that is not torch's may replace what a parameter holds, even between two evaluations.
        current = (lambda: chain) if self.is_torchs else partial(chain_of, self.model, pixels)
        results: list[Evaluation] = []
        while order:
            if lrs:
                self.rates.set(lrs[0], *momenta[:1])
            # The first update is torch's, since it creates the optimizer's state.
            if chain and all(momenta) and (update := native_update(self.optimizer, chain.parameters)):
                if lrs:
                    update.vary(self.rates.of_first_group(lrs), momenta)
                    self.rates.set(lrs[-1], *momenta[-1:])
                results.append(chain.train(pixels, order, update))
                self.gradients += len(order)
                break
            results.append(self._update(partial(self._differentiate, current, pixels, order[:1])))
            order, lrs, momenta = order[1:], lrs[1:], momenta[1:]
        losses, correct = zip(*results, strict=True)
        return torch.cat(losses), torch.stack(correct).sum()

    def _update(self, differentiate: Callable[[], Evaluation]) -> Evaluation:
        """Take a step on a minibatch; return its evaluation from before the step."""
        if self._has_stepped:
            try:
                return self._step(differentiate)
            except RuntimeError as error:
                if self.is_torchs or self.create_graph or not ASKS_FOR_A_GRAPH.search(str(error)):
                    raise
                name = type(self.optimizer).__name__
                raise UserError(
                    f"optimizer: {name} wants second derivatives ({flat(error)[:120]}), and only after its first step; "
                    f"say so by an attribute of the class, create_graph = True"
                ) from error
        roots = {"network": self.model, "optimizer": self.optimizer}
        before, drawn, counted = deepcopy(Snapshot(roots).content), states(), self.gradients
        values = [parameter.detach().clone() for parameter in self.model.parameters()]
        self._has_stepped, asked = True, ""
        # Next with a graph, then with a closure that leaves `backward` to the step, as SLS does (arXiv 1905.09997).
        ways = (self.create_graph, False), (True, False), (False, True)
        for graph, differentiates in ways:
            self.create_graph, self.differentiates = graph, differentiates
            try:
                found = self._step(differentiate)
                if not self.differentiates or self._has_learned(values):
                    return found
                break  # a step that skips parameters without gradients
            except RuntimeError as error:
                if not ASKS_FOR_A_GRAPH.search(said := flat(error)):
                    if not asked:
                        raise
                    break
                asked = asked or said
            restore(before, roots)
            set_states(drawn)
            for parameter in self.model.parameters():
                parameter.grad = None
            self.gradients = counted
        raise UserError(
            f"optimizer: {type(self.optimizer).__name__} wants second derivatives ({asked[:120]}), but cannot use "
            f"those of this network: {said[:200]}"
        )

    def _has_learned(self, values: Sequence[Tensor]) -> bool:
        """Return True if a parameter has a gradient or is no longer what it was."""
        pairs = zip(self.model.parameters(), values, strict=True)
        return any(parameter.grad is not None or not torch.equal(parameter, value) for parameter, value in pairs)

    def _step(self, differentiate: Callable[[], Evaluation]) -> Evaluation:
        evaluations: list[Evaluation] = []

        def closure() -> Tensor:
            evaluations.append(differentiate())
            return evaluations[-1][0][0]

        if self.is_torchs:
            self.optimizer.step(closure)  # type: ignore[arg-type]  # torch's type says float, but a tensor is meant
        elif self._with_closure:
            self._with_closure(self._evaluated(closure))
        else:
            closure()
            self.optimizer.step()
        loss, correct = evaluations[0]  # LBFGS evaluates more than once
        return loss.detach(), correct

    def _differentiate(
        self, current: Callable[[], Chain | None], pixels: Pixels, minibatch: Sequence[Tensor]
    ) -> Evaluation:
        """Compute the loss (1,), the correct predictions and the gradients of one minibatch."""
        self.optimizer.zero_grad()
        # Gradients that an optimizer keeps, in order to add to them, are left to autograd.
        chain = None if self.create_graph or self.differentiates else current()
        if chain and all(parameter.grad is None for parameter in chain.parameters):
            self.gradients += 1
            return chain.train(pixels, minibatch)
        images, labels = pixels.minibatch(minibatch[0])
        with torch.enable_grad(), _second_derivatives() if self.create_graph else nullcontext():
            logits = self.model(images)
            loss = cross_entropy(logits, labels)
            if self.differentiates:  # evaluations without a backward pass, as of a line search, are no gradients
                loss.register_hook(self._count)
            else:
                self.gradients += 1
                loss.backward(create_graph=self.create_graph)
                loss = loss.detach()
            return loss[None], (logits.argmax(-1) == labels).sum()

    def _count(self, _: Tensor) -> None:
        self.gradients += 1

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
        gradients = [None if parameter.grad is None else self._kept(parameter.grad) for parameter in parameters]

        def closure() -> Tensor:
            loss = first.pop() if first else None
            if loss is None or not all(map(torch.equal, parameters, values)):
                return evaluate()
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            return loss

        return closure

    def _kept(self, gradient: Tensor) -> Tensor:
        return gradient if self.create_graph else gradient.clone()  # a copy would be another part of the graph
