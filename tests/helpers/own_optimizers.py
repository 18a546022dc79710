"""Optimizers as users write them, with state where `state_dict` does not look."""

import enum
import itertools
import queue
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer


class Base(Optimizer):
    """Plain gradient descent; subclasses change the direction."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.begin()

    def begin(self) -> None:
        """Set up what a subclass needs."""

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        """Return the direction of a step, whose sign is that of the gradient."""
        assert parameter.grad is not None
        return parameter.grad

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            with torch.enable_grad():
                closure()
        for group in self.param_groups:
            for place, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    parameter.sub_(self.direction(place, parameter), alpha=group["lr"])


class MomentumInAList(Base):
    """A list of tensors and a counter, made at the first step."""

    def begin(self) -> None:
        self.momenta: list[Tensor] = []
        self.steps = 0

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        if place == len(self.momenta):
            self.momenta.append(torch.zeros_like(parameter))
        self.steps += 1
        momentum = self.momenta[place].mul_(0.9).add_(parameter.grad)
        return momentum / (1 + 1e-4 * self.steps)


class MomentumByParameter(Base):
    """A dictionary of tensors, by parameter."""

    def begin(self) -> None:
        self.of: dict[Tensor, Tensor] = {}

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return self.of.setdefault(parameter, torch.zeros_like(parameter)).mul_(0.9).add_(parameter.grad)


class MeanOfTheLast(Base):
    """A deque of the last gradients."""

    def begin(self) -> None:
        self.last: dict[int, deque[Tensor]] = {}

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.last.setdefault(place, deque(maxlen=5)).append(parameter.grad.clone())
        return torch.stack(list(self.last[place])).mean(0)


class FlatMomentum(Base):
    """One flat tensor, of which each parameter's momentum is a view."""

    def begin(self) -> None:
        sizes = [parameter.numel() for parameter in self.param_groups[0]["params"]]
        self.flat = torch.zeros(sum(sizes))
        self.views = list(self.flat.split(sizes))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            with torch.enable_grad():
                closure()
        self.flat *= 0.9
        for view, parameter in zip(self.views, self.param_groups[0]["params"], strict=True):
            view += parameter.grad.flatten()
            parameter.sub_(view.view_as(parameter), alpha=self.param_groups[0]["lr"])


class FlatLater(Base):
    """Moves all parameters into one tensor at the first step, as some fused optimizers do."""

    def begin(self) -> None:
        self.flat: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            with torch.enable_grad():
                closure()
        parameters = self.param_groups[0]["params"]
        if self.flat is None:
            self.flat = torch.cat([parameter.flatten() for parameter in parameters])
            self.momentum = torch.zeros_like(self.flat)
            parts = self.flat.split([parameter.numel() for parameter in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.data = part.view_as(parameter)
        self.momentum = 0.9 * self.momentum + torch.cat([parameter.grad.flatten() for parameter in parameters])
        self.flat.sub_(self.momentum, alpha=self.param_groups[0]["lr"])


class NumpyNumbers(Base):
    """NumPy's scalars and arrays in the state and the groups."""

    def begin(self) -> None:
        self.param_groups[0]["scale"] = np.float32(1.5)
        self.param_groups[0]["count"] = np.int64(0)

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        state, group = self.state[parameter], self.param_groups[0]
        group["count"] += np.int64(1)
        state["norm"] = np.float64(state.get("norm", 0.0)) * 0.9 + np.float64(parameter.grad.norm())
        state["array"] = np.append(state.get("array", np.zeros(0)), state["norm"])[-3:]
        return parameter.grad * float(group["scale"] / (1 + np.mean(state["array"])))


class NoisyGradients(Base):
    """Generators of its own: torch's, NumPy's and Python's."""

    def begin(self) -> None:
        self.torchs, self.numpys, self.pythons = torch.Generator(), np.random.default_rng(3), random.Random(5)
        self.torchs.manual_seed(1)

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        noise = torch.randn(parameter.shape, generator=self.torchs) * self.numpys.random() * self.pythons.random()
        return parameter.grad + 0.01 * noise


class GlobalNoise(Base):
    """The global generators of Python and NumPy."""

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad * (0.5 + random.random()) * (0.5 + np.random.random())  # noqa: NPY002


class SAM(Optimizer):
    """Foret et al. 2021, with an optimizer as attribute, as its best-known implementation has it."""

    def __init__(self, params: Any, lr: float, rho: float = 0.05) -> None:
        super().__init__(params, {"lr": lr, "rho": rho})
        self.base = SGD(self.param_groups, lr=lr, momentum=0.9)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> None:  # type: ignore[override]
        closure = torch.enable_grad()(closure)
        closure()
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in parameters]).norm()
        moved = [p.grad * (self.param_groups[0]["rho"] / (norm + 1e-12)) for p in parameters]
        for p, by in zip(parameters, moved, strict=True):
            p.add_(by)
        closure()
        for p, by in zip(parameters, moved, strict=True):
            p.sub_(by)
        self.base.step()


class Lookahead(Optimizer):
    """Zhang et al. 2019: slow weights in a list, the fast ones by an optimizer that is an attribute."""

    def __init__(self, params: Any, lr: float, k: int = 5, alpha: float = 0.5) -> None:
        super().__init__(params, {"lr": lr})
        self.fast = Adam(self.param_groups[0]["params"], lr=lr)
        self.k, self.alpha, self.counter = k, alpha, 0
        self.slow = [parameter.detach().clone() for parameter in self.param_groups[0]["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            with torch.enable_grad():
                closure()
        self.fast.param_groups[0]["lr"] = self.param_groups[0]["lr"]
        self.fast.step()
        self.counter += 1
        if self.counter % self.k == 0:
            for slow, parameter in zip(self.slow, self.param_groups[0]["params"], strict=True):
                slow += self.alpha * (parameter - slow)
                parameter.copy_(slow)


class WeightAverage(Base):
    """An exponential average of the weights in a tracker of its own class, towards which they are drawn."""

    def begin(self) -> None:
        self.tracker = Tracker([parameter.detach().clone() for parameter in self.param_groups[0]["params"]])

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        average = self.tracker.average[place].lerp_(parameter, 0.1)
        self.tracker.seen += 1
        return parameter.grad + 0.1 * (parameter - average)


class Tracker:
    """An object with slots and an attribute."""

    __slots__ = ("__dict__", "average")

    def __init__(self, average: list[Tensor]) -> None:
        self.average, self.seen = average, 0


class Accumulating(Base):
    """Steps with the sum of three minibatches' gradients, which may begin in one epoch and end in the next."""

    def begin(self) -> None:
        self.calls = 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        if self.calls % 3 == 0:
            super().zero_grad(set_to_none)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            closure()
        self.calls += 1
        if self.calls % 3 == 0:
            super().step()


class InAClosure(Base):
    """A counter in the surroundings of a function."""

    def begin(self) -> None:
        count = 0

        def factor() -> float:
            nonlocal count
            count += 1
            return 1 / (1 + 0.01 * count)

        self.factor = factor

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad * self.factor()


class AnOwnStateDict(MomentumInAList):
    """A `state_dict` of its own form."""

    def state_dict(self) -> dict[str, Any]:
        return {"momenta": self.momenta, "steps": self.steps}

    def load_state_dict(self, state_dict: Any) -> None:
        self.momenta, self.steps = state_dict["momenta"], state_dict["steps"]


class Cyclic(Base):
    """A Python generator, whose state cannot be saved."""

    def begin(self) -> None:
        self.factors = self._factors()

    def _factors(self) -> Iterator[float]:
        while True:
            yield from (0.5, 1.0, 1.5, 2.0, 2.5)

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad * next(self.factors)


class LateTracker(Base):
    """An object of its own class, made at the first step."""

    tracker: Tracker

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        if not hasattr(self, "tracker"):
            self.tracker = Tracker([])
        self.tracker.seen += 1
        return parameter.grad / (1 + 0.01 * self.tracker.seen)


class LateCount(Base):
    """An iterator, made at the first step."""

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        if not hasattr(self, "counter"):
            self.counter = itertools.count(1)
        return parameter.grad / (1 + 0.01 * next(self.counter))


class SharedArrays(Base):
    """Two arrays of one memory, made at the first step."""

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        if not hasattr(self, "flat"):
            self.flat = np.ones(4)
            self.head = self.flat[:2]
        self.head += 0.01
        return parameter.grad / float(self.flat.sum())


class TensorOfAnArray(Base):
    """An array and a tensor of one memory, made at the first step."""

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        if not hasattr(self, "array"):
            self.array = np.ones(4)
            self.tensor = torch.from_numpy(self.array)
        self.array += 0.01
        return parameter.grad / float(self.tensor.sum())


class Ordered(Base):
    """A set of numbers, from which one is taken at a time."""

    def begin(self) -> None:
        self.left = {0}
        self.left |= {8 * number for number in range(1000, 0, -1)}
        self.left -= set(range(8, 7000, 8))

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad / (1 + next(iter(self.left)) / 8000)


class Nested(Base):
    """A list in a list in a list."""

    def begin(self) -> None:
        self.history: list[Any] = []
        for number in range(2000):
            self.history = [number, self.history]


class ByIdentity(Base):
    """A dictionary of momenta by the id of a parameter, which differs from process to process."""

    def begin(self) -> None:
        self.of: dict[int, Tensor] = {}

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return self.of.setdefault(id(parameter), torch.zeros_like(parameter)).mul_(0.9).add_(parameter.grad)


class Phase(enum.Enum):
    """Phases of a training."""

    WARM, TRAIN = "warm", "train"


class Phases(Base):
    """An enumeration, compared by identity."""

    def begin(self) -> None:
        self.phase, self.steps = Phase.WARM, 0

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.steps += 1
        self.phase = Phase.TRAIN if self.steps % 50 > 25 else Phase.WARM
        return parameter.grad * (0.1 if self.phase is Phase.WARM else 1.0)


@dataclass(frozen=True)
class Stage:
    """An unchangeable state."""

    number: int


FIRST = Stage(0)


class Constant(Base):
    """A constant of the module, in whose place comes another object."""

    def begin(self) -> None:
        self.stage = FIRST

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.stage = Stage(self.stage.number + 1) if self.stage.number < 30 else FIRST
        return parameter.grad / (1 + 0.1 * self.stage.number + FIRST.number)


class Recent(Base):
    """An ordered dictionary whose oldest entry is dropped."""

    def begin(self) -> None:
        self.recent: OrderedDict[int, float] = OrderedDict()
        self.steps = 0

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.steps += 1
        key = self.steps**2 % 11
        self.recent[key] = float(parameter.grad.norm())
        self.recent.move_to_end(key)
        if len(self.recent) > 4:
            self.recent.popitem(last=False)
        return parameter.grad / (1 + next(iter(self.recent.values())) + next(iter(self.recent)))


class TensorWithAttributes(Base):
    """Momenta that are attributes of the parameters."""

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        tensor: Any = parameter
        tensor.velocity = 0.9 * getattr(tensor, "velocity", 0.0) + parameter.grad
        return tensor.velocity


class StepInBackward(Base):
    """Hooks on the parameters' gradients, with a memory in their surroundings."""

    def begin(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.register_hook(self.hook())

    def hook(self) -> Callable[[Tensor], Tensor]:
        """Return a hook that counts."""
        count = 0

        def scale(gradient: Tensor) -> Tensor:
            nonlocal count
            count += 1
            return gradient / (1 + 0.05 * count)

        return scale


class Defaults(Base):
    """Default arguments that remember."""

    def direction(self, place: int, parameter: Tensor, norms: list[float] = []) -> Tensor:  # noqa: B006
        assert parameter.grad is not None
        norms.append(float(parameter.grad.norm()))
        return parameter.grad / (1 + sum(norms[-3:]))


class BoundMethods(Base):
    """Methods of generators that are no attributes themselves."""

    def begin(self) -> None:
        self.one, self.other = random.Random(3).random, np.random.default_rng(4).random

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad * (0.5 + self.one() * float(self.other()))


class Spawning(Base):
    """A generator that makes others."""

    def begin(self) -> None:
        self.parent = np.random.default_rng(4)

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        (child,) = self.parent.spawn(1)
        return parameter.grad * (0.5 + float(child.random()))


class OnceTheSame(Base):
    """Two names of one tensor, and later of two."""

    def begin(self) -> None:
        self.fast = self.slow = torch.zeros(())

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.fast = 0.5 * self.fast + 0.5 * parameter.grad.norm()
        self.slow = 0.9 * self.slow + 0.1 * parameter.grad.norm()
        return parameter.grad * (1 + self.fast) / (1 + self.slow)


class Sparse(Base):
    """A sparse tensor in the state."""

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        large = parameter.grad * (parameter.grad.abs() > parameter.grad.abs().mean())
        state["large"] = (0.5 * state["large"].to_dense() + large if "large" in state else large).to_sparse()
        return parameter.grad + state["large"].to_dense()


class AttributeDictionary(dict[str, Any]):
    """Entries as attributes, as configurations have them."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Attributes(Base):
    """A dictionary whose entries are attributes."""

    def begin(self) -> None:
        self.options = AttributeDictionary(steps=0, rate=0.01)

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.options["steps"] += 1
        return parameter.grad / (1 + self.options.rate * self.options.steps)


class Holders(Base):
    """Holders of the standard library: a namespace with a lock, and a queue."""

    def begin(self) -> None:
        self.held = SimpleNamespace(steps=0, lock=threading.Lock(), names={"a", "b", "c"})
        self.norms: queue.Queue[float] = queue.Queue()

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.held.steps += 1
        self.norms.put(float(parameter.grad.norm()))
        oldest = self.norms.get() if self.norms.qsize() > 9 else 1.0
        return parameter.grad / (1 + oldest + 0.01 * self.held.steps)


MOMENTA: dict[Tensor, Tensor] = {}  # of all optimizers of a process


class Registered(Base):
    """Momenta in a dictionary of the module."""

    def begin(self) -> None:
        MOMENTA.update((parameter, torch.zeros_like(parameter)) for parameter in self.param_groups[0]["params"])

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        return MOMENTA[parameter].mul_(0.9).add_(parameter.grad) / len(MOMENTA)


class Slow:
    """A strategy."""

    rate = 0.1

    def __init__(self) -> None:
        self.steps = 0


class Fast(Slow):
    """Another one."""

    rate = 1.0


class Strategies(Base):
    """An object in whose place comes one of another class, after the first epoch."""

    def begin(self) -> None:
        self.strategy = Slow()

    def direction(self, place: int, parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        self.strategy.steps += 1
        if self.strategy.steps > 80:
            self.strategy = Fast() if type(self.strategy) is Slow else Slow()
        return parameter.grad * self.strategy.rate


class ScheduleFree(Optimizer):
    """Schedule-free SGD (Defazio et al. 2024), with the modes of its authors' package."""

    def __init__(self, params: Any, lr: float, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "k": 0, "training": False})

    @torch.no_grad()
    def train(self) -> None:
        """Put the point at which gradients are taken into the parameters."""
        self._move(True)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average into the parameters."""
        self._move(False)

    def _move(self, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] != training:
                weight = 1 - group["beta"] if training else 1 - 1 / group["beta"]
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.lerp_(self.state[p]["z"], weight)
            group["training"] = training

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if not self.param_groups[0]["training"]:
            raise RuntimeError("Optimizer was not in train mode when step is called. Please insert .train() calls")
        if closure is not None:
            with torch.enable_grad():
                closure()
        for group in self.param_groups:
            group["k"] += 1
            share = 1 / group["k"]
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                p.lerp_(z, share)
                p.add_(p.grad, alpha=group["lr"] * (group["beta"] * (1 - share) - 1))
                z.sub_(p.grad, alpha=group["lr"])


class Newton(Base):
    """Scales by the diagonal of the Hessian (Hutchinson's estimate), as AdaHessian does."""

    def begin(self) -> None:
        self.draws = torch.Generator().manual_seed(2)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if closure is not None:
            closure()
        parameters = [p for group in self.param_groups for p in group["params"]]
        if any(p.grad.grad_fn is None for p in parameters):
            raise RuntimeError("Gradient tensor does not have grad_fn. Set the option create_graph to True.")
        signs = [torch.randint(0, 2, p.shape, generator=self.draws).float() * 2 - 1 for p in parameters]
        along = torch.autograd.grad([p.grad for p in parameters], parameters, signs)
        with torch.no_grad():
            for p, sign, product in zip(parameters, signs, along, strict=True):
                p.sub_(p.grad / (1 + (sign * product).abs()), alpha=self.param_groups[0]["lr"])


class NewtonThatSaysSo(Newton):
    """Says that it needs second derivatives."""

    create_graph = True


class NewtonSometimes(Newton):
    """Uses second derivatives at the first step and at every tenth, and the last ones between them."""

    def begin(self) -> None:
        super().begin()
        self.steps = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if self.steps % 10 == 0:
            super().step(closure)
        else:
            Base.step(self, closure)
        self.steps += 1


class Polyak(Base):
    """Steps of (loss - 0) / |gradient|^2, at most the lr (Loizou et al. 2021): the length follows from the loss."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> float:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure()
        (group,) = self.param_groups
        squared = sum(float((parameter.grad**2).sum()) for parameter in group["params"])
        for parameter in group["params"]:
            parameter.sub_(parameter.grad, alpha=min(group["lr"], float(loss) / (squared + 1e-8)))
        return float(loss)


class LineSearch(Base):
    """Halves the step until Armijo's condition holds, and begins the next search at twice the last step."""

    def begin(self) -> None:
        self.length = 1.0
        self.tried = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> float:  # type: ignore[override]
        with torch.enable_grad():
            loss = float(closure().detach())
        (group,) = self.param_groups
        before = [parameter.clone() for parameter in group["params"]]
        gradients = [parameter.grad.clone() for parameter in group["params"]]
        squared = sum(float((gradient**2).sum()) for gradient in gradients)
        self.length = min(2 * self.length, 16.0)
        for _ in range(10):
            self.tried += 1
            for parameter, start, gradient in zip(group["params"], before, gradients, strict=True):
                parameter.copy_(start - self.length * group["lr"] * gradient)
            with torch.enable_grad():
                there = float(closure().detach())
            if there <= loss - 0.1 * self.length * group["lr"] * squared:
                break
            self.length /= 2
        return loss


class KFAC(Optimizer):
    """Divides the gradients of linear layers by factors that hooks gather (Martens & Grosse 2015)."""

    def __init__(self, model: torch.nn.Module, lr: float, damping: float = 0.1) -> None:
        super().__init__(model.parameters(), {"lr": lr})
        self.damping, self.steps = damping, 0
        self.layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
        self.inputs: dict[torch.nn.Module, Tensor] = {}
        self.factors: dict[torch.nn.Module, tuple[Tensor, Tensor]] = {}
        for layer in self.layers:
            layer.register_forward_pre_hook(self._keep_input)
            layer.register_full_backward_pre_hook(self._gather)

    def _keep_input(self, layer: torch.nn.Module, inputs: Any) -> None:
        if layer.training and torch.is_grad_enabled():
            self.inputs[layer] = inputs[0].detach()

    def _gather(self, layer: torch.nn.Module, of_outputs: Any) -> None:
        entering = torch.nn.functional.pad(self.inputs.pop(layer), (0, 1), value=1.0)
        leaving = of_outputs[0].detach() * len(entering)
        new = entering.t() @ entering / len(entering), leaving.t() @ leaving / len(entering)
        old = self.factors.get(layer, new)
        self.factors[layer] = (0.9 * old[0] + 0.1 * new[0], 0.9 * old[1] + 0.1 * new[1])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.steps += 1
        lr = self.param_groups[0]["lr"]
        for layer in self.layers:
            of_inputs, of_outputs = (
                torch.linalg.inv(factor + self.damping * torch.eye(len(factor))) for factor in self.factors[layer]
            )
            assert isinstance(layer, torch.nn.Linear)
            whole = torch.cat([layer.weight.grad, layer.bias.grad[:, None]], 1)  # type: ignore[list-item,index]
            step = of_outputs @ whole @ of_inputs
            layer.weight.sub_(step[:, :-1], alpha=lr)
            layer.bias.sub_(step[:, -1], alpha=lr)


class OwnBackward(Base):
    """Calls `backward` itself, as the repository of SLS does (Vaswani et al. 2019, arXiv 1905.09997)."""

    def step(self, closure: Any = None) -> Tensor:  # type: ignore[override]
        loss: Tensor = closure()
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None
        loss.backward()
        super().step()
        return loss


class ForwardTwice(OwnBackward):
    """Evaluates the loss once more after the update, without a backward pass, as a line search does."""

    def step(self, closure: Any = None) -> Tensor:  # type: ignore[override]
        loss = super().step(closure)
        closure()
        return loss


class SkipsWithoutGradients(Base):
    """Wants a graph that is of no use to it, and skips parameters that have no gradient."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure()
        if any(parameter.grad is not None for parameter in self.param_groups[0]["params"]):
            raise RuntimeError("element 0 of tensors does not require grad")
