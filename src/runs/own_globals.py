"""Variables of the user's own modules and classes, which may be state of a run as well: a counter of a class, say."""

import pkgutil
import random
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from types import FunctionType
from typing import Any

import numpy as np
import torch

from src.runs.own_code import OwnCode
from src.runs.restoring import restore
from src.runs.snapshot import Snapshot

KINDS = (
    bool, int, float, complex, str, bytes, list, dict, set, deque, torch.Tensor, torch.Generator, np.ndarray,
    np.generic, np.random.Generator, np.random.RandomState, random.Random,
)  # fmt: skip
DEFAULTS = " defaults"
Variables = dict[str, dict[str, Any]]  # by the name of a module, or of a class in it
_initial: dict[tuple[str, ...], Any] = {}  # what the variables were when the code was imported


def variables(code: OwnCode) -> Variables:
    """Return the variables of the code that has been imported."""
    return {name: _of(owner, code) for name, owner in _owners(code)}


def put_back(code: OwnCode, found: Variables) -> None:
    """Set the variables of the code to these values."""
    for name, owner in _owners(code):
        for key, value in found.get(name, {}).items():
            if not key.endswith(DEFAULTS) and vars(owner).get(key) is not value:
                setattr(owner, key, value)


def begin_anew(code: OwnCode) -> None:
    """Set all variables to what they were when the code was imported: the last run in this process may have left them.

    Raises Damaged if they have become something else altogether.
    """
    for target in code.targets:
        with suppress(Exception, SystemExit):  # told when it is instantiated
            pkgutil.resolve_name(target)
    key = tuple(sorted(code.files))
    if key in _initial:
        _restore(code, deepcopy(_initial[key]))
    else:
        _initial[key] = _content(code)


@contextmanager
def kept_variables(code: OwnCode) -> Iterator[None]:
    """Leave the variables as they are, whatever happens to them within."""
    before = _content(code)
    try:
        yield
    finally:
        _restore(code, before)


def _content(code: OwnCode) -> Any:
    """Return a copy of the variables, as a snapshot's content."""
    return deepcopy(Snapshot({"globals": variables(code)}).content)


def _restore(code: OwnCode, content: Any) -> None:
    """Restore a content, whose tensors the variables then hold. Raises Damaged."""
    now = variables(code)
    restore(content, {"globals": now})
    put_back(code, now)


def _owners(code: OwnCode) -> Iterator[tuple[str, Any]]:
    """Yield the modules of the code, and the classes that they define, by name."""
    for file in sorted(code.files):
        name = file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        if module := sys.modules.get(name):
            yield name, module
            for cls in list(vars(module).values()):
                if isinstance(cls, type) and cls.__module__ == name:
                    yield f"{name}.{cls.__qualname__}", cls


def _of(owner: Any, code: OwnCode) -> dict[str, Any]:
    modules = {file.removesuffix(".py").replace("/", ".") for file in code.files}
    found: dict[str, Any] = {}
    for key, value in list(vars(owner).items()):
        if isinstance(value, FunctionType) and value.__module__ in modules:
            # A default that is changed, as of `def f(self, history=[])`, lives as long as the function.
            found |= {f"{key}{DEFAULTS}": held for held in (value.__defaults__, value.__kwdefaults__) if held}
        elif (
            not key.startswith("__")
            and not isinstance(value, type)
            and (isinstance(value, KINDS) or type(value).__module__ in modules)
        ):
            found[key] = value
    return found
