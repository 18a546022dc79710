"""Instantiation of the classes named by `_target_` in the configuration."""

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, TypeVar

from src.errors import UserError, flat, one_line

T = TypeVar("T")

EXTRAS = {"pytorch_optimizer": "optimizers"}  # the extra in pyproject.toml that installs a package
OF_YOUR_OWN = {
    "data": "; your own data need a method arrays() that returns x_train, y_train, x_test and y_test (docs/data.md has "
    "an example)",
    "schedule": ", or of torch.optim.lr_scheduler.LRScheduler; your own Schedule needs a method decay(epoch) that "
    "returns the factor of the lr, and a file conf/schedule/NAME.yaml with its _target_ (docs/schedules.md has one)",
}


def instantiate(
    group: str,
    node: dict[str, Any],
    base: type[T],
    *arguments: Any,
    told: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> T:
    """Instantiate `node`, the chosen member of a config group: call its `_target_` with its other keys.

    `keywords` are always passed, and those of `told` if the class has arguments of these names; neither may be in the
    node. The target must be a subclass of `base`, and nested nodes are not instantiated. So a configuration cannot call
    arbitrary functions, as it could through `hydra.utils.instantiate`. Raises UserError.
    """
    fields = dict(node)
    target = fields.pop("_target_", None)
    cls = named_class(f"{group}._target_={target}:", target, base, OF_YOUR_OWN.get(group, ""))
    keywords |= {key: value for key, value in (told or {}).items() if key in _argument_names(cls)}
    _check_keys(group, cls, fields, arguments, keywords, told or {})
    try:
        return cls(*arguments, **keywords, **fields)
    except UserError:
        raise
    except Exception as error:  # the user's class may raise anything
        # The message of a ValueError explains the arguments well enough without its type.
        reason = flat(error) if isinstance(error, ValueError) else one_line(error)
        raise UserError(f"{group}: {target} cannot be built from {fields}: {reason}") from error


def named_class(said: str, target: Any, base: type[T], more: str = "") -> type[T]:
    """Return the subclass of `base` that a dotted name means.

    Raises UserError, which begins with `said` and ends with what is allowed and `more`.
    """
    allowed = f"name a subclass of {base.__module__}.{base.__qualname__}, by module and class{more}"
    if not isinstance(target, str):
        raise UserError(f"{said} must be a class; {allowed}")
    try:
        cls = pkgutil.resolve_name(target)
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        if (package := target.partition(".")[0]) in EXTRAS and isinstance(error, ModuleNotFoundError):
            raise UserError(f"{said} {package} is not installed; pip install -e '.[{EXTRAS[package]}]'") from error
        reason = f"{type(error).__name__}: {flat(error)}"
        raise UserError(f"{said} cannot be imported ({reason}); {allowed}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{said} is not a subclass of {base.__qualname__}; {allowed}")
    return cls


def _argument_names(cls: type) -> set[str]:
    try:
        return set(inspect.signature(cls).parameters)
    except ValueError:  # a class written in C
        return set()


def _check_keys(
    group: str,
    cls: type,
    fields: dict[str, Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    told: Mapping[str, Any],
) -> None:
    for key in fields.keys() & keywords.keys():
        if key in told:
            raise UserError(f"{group}.{key}={fields[key]}: is set to {told[key]} by the run; leave it out")
        raise UserError(f"{group}.{key}={fields[key]}: is set at the top level; write {key}={fields[key]}")
    try:
        parameters = list(inspect.signature(cls).parameters.values())[len(arguments) :]
    except ValueError:  # a class written in C
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
    keys = [name for name in named if name not in keywords]
    for key in fields:
        if key not in keys:
            takes = f"it takes: {', '.join(keys)}" if keys else "it takes none"
            raise UserError(f"{group}.{key}: {cls.__name__} takes no such argument; {takes}")
