"""The updates of torch's optimizers that the native code can make, on the optimizers' own state."""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import Array, c_double, c_int64, c_void_p
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from torch.optim import optimizer as torch_optimizer

# For each optimizer: its number in training.cpp, the names in its state, and the two numbers of its formula.
RULES: dict[type[Optimizer], tuple[int, list[str], Callable[[dict[str, Any]], tuple[float, float]]]] = {
    SGD: (1, ["momentum_buffer"], lambda group: (group["momentum"], group["dampening"])),
    Adagrad: (2, ["sum"], lambda group: (group["lr_decay"], 0.0)),
    Adam: (3, ["exp_avg", "exp_avg_sq"], lambda group: group["betas"]),
    AdamW: (3, ["exp_avg", "exp_avg_sq"], lambda group: group["betas"]),
    RMSprop: (4, ["square_avg"], lambda group: (group["alpha"], 0.0)),
}
TORCH_ONLY = ("maximize", "amsgrad", "centered", "differentiable", "capturable")  # options


class _Parameter(ctypes.Structure):
    _fields_ = [*((name, c_void_p) for name in ("value", "gradient", "first", "second")), ("size", c_int64)]


class _Update(ctypes.Structure):
    _fields_ = [
        *((name, c_int64) for name in ("rule", "flag", "number_of_parameters")),
        *((name, c_double) for name in ("steps", "lr", "first", "second", "eps", "weight_decay")),
        *((name, c_void_p) for name in ("parameters", "lrs", "firsts")),
    ]


NO_UPDATE = _Update()


class Update:
    """Updates of `parameters` by one of torch's optimizers, whose state must exist: torch makes the first update."""

    def __init__(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        group = optimizer.param_groups[0]
        self.parameters = parameters
        self.rule, names, of_rule = RULES[type(optimizer)]
        if isinstance(optimizer, SGD) and not group["momentum"]:
            names = []
        self.flag = bool(group.get("nesterov", False) or group.get("decoupled_weight_decay", False))
        self.numbers = group["lr"], *of_rule(group), group.get("eps", 0.0), group["weight_decay"]
        states = [optimizer.state.get(parameter, {}) for parameter in parameters]
        self.states = [[state[name] for name in names] for state in states]
        self.steps = [state["step"] for state in states if "step" in state]
        self.varying: list[Array[c_double] | None] = [None, None]

    def vary(self, lrs: Sequence[float], momenta: Sequence[float]) -> None:
        """Set the lr and, if there are any, the momentum of each minibatch."""
        self.varying = [(c_double * len(each))(*each) if each else None for each in (lrs, momenta)]

    def struct(self, gradients: Sequence[Tensor]) -> _Update:
        """Return the C++ struct; `gradients` are where the gradients will be."""
        rows = [
            _Parameter(parameter.data_ptr(), gradient.data_ptr(), *pointers, size=parameter.numel())
            for parameter, gradient, state in zip(self.parameters, gradients, self.states, strict=True)
            for pointers in [[tensor.data_ptr() for tensor in state]]
        ]
        self.rows = (_Parameter * len(rows))(*rows)  # kept while the struct is used
        done = self.steps[0].item() if self.steps else 0.0
        by_minibatch = [each and ctypes.addressof(each) for each in self.varying]
        return _Update(self.rule, self.flag, len(rows), done, *self.numbers, ctypes.addressof(self.rows), *by_minibatch)

    def count(self, updates: int) -> None:
        """Add to the optimizer's number of updates."""
        for step in self.steps:
            step += updates


def native_update(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> Update | None:
    """Return the update of an optimizer of exactly these parameters, or None if only torch can make it."""
    if why_python(optimizer) or set(map(id, optimizer.param_groups[0]["params"])) != set(map(id, parameters)):
        return None
    try:
        update = Update(optimizer, parameters)
    except KeyError:  # no state yet
        return None
    fits = all(isinstance(number, int | float) for number in update.numbers) and all(
        isinstance(tensor, Tensor)
        and tensor.is_contiguous()
        and (tensor.dtype, tensor.device, tensor.shape) == (parameter.dtype, parameter.device, parameter.shape)
        for parameter, state in zip(parameters, update.states, strict=True)
        for tensor in state
    )
    return update if fits and len({step.item() for step in update.steps}) < 2 else None


def why_python(optimizer: Optimizer) -> str:
    """Return the reason why an optimizer's updates are its own Python code; empty if the native code can make them."""
    groups = optimizer.param_groups
    name = " + ".join(type(each).__name__ for each in getattr(optimizer, "optimizers", [optimizer]))
    if type(optimizer) not in RULES:
        return f"updates of {name} are Python; native ones are {', '.join(each.__name__ for each in RULES)}"
    if len(groups) != 1:
        return f"updates are Python: {name} has {len(groups)} parameter groups, and native code takes one"
    if "step" in vars(optimizer) or _has_hooks(optimizer):
        return f"updates are Python: {name} has hooks or a step of its own"
    options = [option for option in TORCH_ONLY if groups[0].get(option)]
    if isinstance(optimizer, RMSprop) and groups[0]["momentum"]:
        options.append("momentum")
    return f"updates are Python: {name} has {', '.join(options)}" if options else ""


def _has_hooks(optimizer: Optimizer) -> bool:
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
    )
