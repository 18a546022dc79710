"""Objects named by `_target_` in the configuration."""

import pkgutil
from typing import Any, TypeVar

from src.errors import UserError

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
        reason = " ".join(str(error).split())
        raise UserError(f"{group}._target_={target}: cannot be imported ({reason}); {allowed}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{group}._target_={target}: is no {base.__qualname__}; {allowed}")
    try:
        return cls(*arguments, **keywords, **fields)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{group}: {target} cannot be built from {fields}: {reason}") from error
