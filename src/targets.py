"""Objects named by `_target_` in the configuration."""

import pkgutil
from typing import Any, TypeVar

import torch
from torch import nn

from src.errors import UserError, flat, one_line
from src.runs.settings import Settings

T = TypeVar("T")


def build(group: str, node: dict[str, Any], base: type[T], *arguments: Any, **keywords: Any) -> T:
    """The object that `node`, the chosen member of a config group, describes: its class called with its other keys.

    Only a `base` is built, and nothing nested: a configuration cannot call arbitrary functions, as it could through
    `hydra.utils.instantiate`. Raises UserError.
    """
    fields = dict(node)
    target = fields.pop("_target_", None)
    allowed = f"name a {base.__module__}.{base.__qualname__}, by module and class"
    if not isinstance(target, str):
        raise UserError(f"{group}._target_={target}: must be a class; {allowed}")
    try:
        cls = pkgutil.resolve_name(target)
    except Exception as error:  # whatever the import of a person's module raises
        raise UserError(f"{group}._target_={target}: cannot be imported ({flat(error)}); {allowed}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{group}._target_={target}: is no {base.__qualname__}; {allowed}")
    try:
        return cls(*arguments, **keywords, **fields)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{group}: {target} cannot be built from {fields}: {flat(error)}") from error


def new_model(settings: Settings) -> nn.Module:
    """The network with the weights of its seed. Raises UserError, also where its output is not (B, 10)."""
    torch.manual_seed(settings.seed)
    model = build("model", settings.model, nn.Module)
    try:
        with torch.no_grad():
            shape = tuple(model.eval()(torch.zeros(2, 1, 28, 28)).shape)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"model: does not take images of shape (2, 1, 28, 28): {one_line(error)}") from error
    if shape != (2, 10):
        raise UserError(f"model: its output for 2 images has shape {shape}; must be (2, 10), the logits of 10 classes")
    return model.train()
