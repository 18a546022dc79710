"""The optimizer of a run, built from its settings over the parameters of a network, with what its class asks for."""

import inspect
import pkgutil
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from src.errors import UserError
from src.instantiate import instantiate, named_class
from src.optimizers import Combined

KINDS = ("matrices", "convolutions", "biases", "norms", "last_layer")
WHOLE = ("model", "module", "network", "net")  # first arguments that take the network
Parameters = list[tuple[str, nn.Parameter]]


def new_optimizer(node: dict[str, Any], model: nn.Module, lr: float) -> Optimizer:
    """Return the optimizer that `node` describes: a class by `_target_`, and its arguments.

    Arguments named `model` and `named_parameters` get these. A node within, as `base: {_target_: torch.optim.SGD}`,
    is an optimizer over the same parameters; it is handed over as a class if the outer one takes the parameters and any
    further keywords, as SAM does. `groups` divides the parameters. Raises UserError.
    """
    fields = dict(node)
    named = list(model.named_parameters())
    if (groups := fields.pop("groups", None)) is None:
        return _built(fields, model, [parameter for _, parameter in named], lr)
    rest, divided = _divided(groups, model, named)
    own: list[dict[str, Any]] = [{"params": rest}] if rest else []
    others: list[Optimizer] = []
    for group, parameters in divided:
        settings = {key: value for key, value in group.items() if key not in ("params", "lr_factor")}
        group_lr = lr * group.get("lr_factor", 1.0)
        if "_target_" in settings:
            others.append(_built(settings, model, parameters, group_lr))
        else:
            own.append({"params": parameters, "lr": group_lr} | settings)
    optimizers = ([_built(fields, model, own, lr, own)] if own else []) + others
    return optimizers[0] if len(optimizers) == 1 else Combined(optimizers)


def _built(
    node: dict[str, Any], model: nn.Module, parameters: Any, lr: float, groups: Sequence[dict[str, Any]] = ()
) -> Optimizer:
    names, takes_any = _arguments(node.get("_target_"))
    fields, keywords = dict(node), {"lr": lr}
    first = next(iter(names), "")
    positional = [] if first in (*WHOLE, "named_parameters") else [parameters]
    for key, inner in node.items():
        if not (isinstance(inner, dict) and "_target_" in inner):
            continue
        if takes_any and "params" in names:
            fields[key] = named_class(f"optimizer: {inner['_target_']}", inner["_target_"], Optimizer)
            fields |= {name: value for name, value in inner.items() if name != "_target_"}
            continue
        fields[key] = _built(inner, model, parameters, lr)
        if key == first:
            positional = []
        if "lr" not in names and (key == first or not takes_any):  # the inner one has it
            keywords = {}
    if groups and not positional:
        raise UserError(f"optimizer.groups: {node.get('_target_')} takes no parameter groups; leave them out")
    told = {"model": model, "named_parameters": list(model.named_parameters())}
    told |= {name: model for name in WHOLE if name == first}
    _check_groups(groups, names, takes_any, node)
    return instantiate("optimizer", fields, Optimizer, *positional, told=told, **keywords)


def _check_groups(groups: Sequence[dict[str, Any]], names: list[str], takes_any: bool, node: dict[str, Any]) -> None:
    """Raise UserError for a setting of a group that the optimizer would ignore."""
    for group in groups:
        for key in group.keys() - {"params", "lr"}:
            if key not in names and not takes_any:
                takes = ", ".join(name for name in names[1:] if name != "lr")
                raise UserError(
                    f"optimizer.groups: {node['_target_']} has no setting {key}; it has: lr_factor, {takes}"
                )


def _arguments(target: Any) -> tuple[list[str], bool]:
    """Return the names of a class's arguments, and whether it takes any further keyword; none if it is not found."""
    with suppress(Exception, SystemExit):  # `instantiate` tells the error
        parameters = inspect.signature(pkgutil.resolve_name(target)).parameters.values()
        kinds = {parameter.kind for parameter in parameters}
        names = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        return names, inspect.Parameter.VAR_KEYWORD in kinds
    return [], False


def _divided(
    groups: Any, model: nn.Module, named: Parameters
) -> tuple[list[nn.Parameter], list[tuple[dict[str, Any], list[nn.Parameter]]]]:
    """Return the parameters that no group names, and each group with its own; the first group that fits gets one."""
    if not isinstance(groups, list) or not all(isinstance(group, dict) and group.get("params") for group in groups):
        raise UserError(
            f"optimizer.groups={groups}: must be a list of groups, each with params: {', '.join(KINDS)} or names"
        )
    left, divided = dict(named), []
    for group in groups:
        wanted = group["params"] if isinstance(group["params"], list) else [group["params"]]
        factor = group.get("lr_factor", 1.0)
        if not isinstance(factor, int | float) or isinstance(factor, bool) or factor < 0 or "lr" in group:
            raise UserError(
                f"optimizer.groups: params {group['params']}: give lr_factor, a number that multiplies the lr"
            )
        names = {name for each in wanted for name in _matching(str(each), model, named)}
        divided.append((group, [left.pop(name) for name, _ in named if name in names and name in left]))
    empty = next((group for group, parameters in divided if not parameters), None)
    if empty:
        every = ", ".join(name for name, _ in named)
        raise UserError(
            f"optimizer.groups: no parameter is left for params {empty['params']}; kinds are {', '.join(KINDS)}, and "
            f"names are {every}"
        )
    return list(left.values()), divided


def _matching(wanted: str, model: nn.Module, named: Parameters) -> list[str]:
    """Return the names of the parameters of a kind, or of a name pattern with `*`."""
    norms = {
        f"{place}.{name}".lstrip(".")
        for place, layer in model.named_modules()
        if isinstance(layer, _NormBase | nn.LayerNorm | nn.GroupNorm)
        for name, _ in layer.named_parameters(recurse=False)
    }
    last = named[-1][0].rpartition(".")[0]
    kinds = {
        "norms": lambda name, parameter: name in norms,
        "biases": lambda name, parameter: name.rpartition(".")[2] == "bias" and name not in norms,
        "matrices": lambda name, parameter: parameter.dim() == 2,
        "convolutions": lambda name, parameter: parameter.dim() > 2,
        "last_layer": lambda name, parameter: name.rpartition(".")[0] == last,
    }
    fits = kinds.get(wanted, lambda name, parameter: fnmatchcase(name, wanted))
    return [name for name, parameter in named if fits(name, parameter)]
