"""What kinds of objects a snapshot knows, and how their state is reached."""

import argparse
import enum
import io
import logging
import queue
import random
import re
import sys
import threading
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import BuiltinMethodType, FunctionType, MethodType, MethodWrapperType, ModuleType, SimpleNamespace
from typing import Any
from weakref import ProxyTypes, ReferenceType

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import RemovableHandle

SCALARS = (type(None), bool, int, float, str)
SEQUENCES = (list, tuple, deque, set, frozenset)
MAPPINGS = (dict, OrderedDict, Counter, defaultdict)
FACTORIES = (list, dict, set, int, float)  # of dictionaries that make missing values
# Values of the standard library that never change: how they are written, and how they are read.
VALUES: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    complex: (lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    bytes: (list, bytes),
    range: (lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    Decimal: (str, Decimal),
    Fraction: (str, Fraction),
    datetime: (datetime.isoformat, datetime.fromisoformat),
    timedelta: (lambda value: [value.days, value.seconds, value.microseconds], lambda parts: timedelta(*parts)),
    torch.Size: (list, torch.Size),
}
CONSTANT = (type, ModuleType, ReferenceType, *ProxyTypes, RemovableHandle, torch.dtype, torch.device, re.Pattern)
# They have no state that a run could depend on, and cannot be compared.
HARMLESS = (
    io.IOBase, logging.Logger, logging.Handler, threading.Thread, threading.Condition, type(threading.Lock()),
    type(threading.RLock()), property,
)  # fmt: skip
HOLDERS = (SimpleNamespace, argparse.Namespace, UserDict, UserList, queue.Queue, queue.SimpleQueue)
# Parts of torch whose objects are plain ones: their attributes are their state.
PLAIN_PARTS = ("torch.distributions", "torch.utils.data", "torch.optim", "torch.nn", "torch.amp")
HOOKS = re.compile(r"_\w*_hooks(_\w+)?")
BOUND = (MethodType, BuiltinMethodType, MethodWrapperType)


def name_of(kind: type) -> str:
    """Return the name of a type by its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def is_of_a_library(module: str) -> bool:
    """Return True for a module of torch, NumPy or the standard library."""
    package = module.partition(".")[0]
    return package in ("torch", "numpy") or package in sys.stdlib_module_names


def is_open(value: Any) -> bool:
    """Return True if the attributes of an object are its state: those of a user's class, a network, an optimizer."""
    if isinstance(value, nn.Module | Optimizer | LRScheduler | SimpleNamespace | argparse.Namespace):
        return True
    if isinstance(value, (*CONSTANT, enum.Enum)) or not attributes(value):
        return False
    module = type(value).__module__
    return isinstance(value, HOLDERS) or module.startswith(PLAIN_PARTS) or not is_of_a_library(module)


def attributes(value: Any) -> dict[str, Any]:
    """Return an object's attributes, those in slots included."""
    found = {}
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ()) if not is_of_a_library(cls.__module__) else ()
        for name in [slots] if isinstance(slots, str) else slots:
            mangled = (
                f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            )
            if name not in ("__dict__", "__weakref__") and hasattr(value, mangled):
                found[mangled] = getattr(value, mangled)
    try:
        return found | dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        return found


def hooks_in_order(name: str, value: Any) -> Any:
    """Return the hooks of a network or an optimizer as a list: their keys differ from process to process."""
    return list(value.values()) if HOOKS.fullmatch(name) and isinstance(value, dict) else value


def tensor_hooks(tensor: Tensor) -> list[Any]:
    """Return the hooks of a tensor, in order."""
    if not tensor.is_leaf:
        return []
    each = (tensor._backward_hooks, tensor._post_accumulate_grad_hooks)
    return [hook for hooks in each if hooks for hook in hooks.values()]


def owner_of(method: Any) -> Any:
    """Return the object that a bound method belongs to, None for a function of a module."""
    owner = getattr(method, "__self__", None)
    return None if isinstance(owner, ModuleType | type) else owner


def cells_of(function: FunctionType) -> list[tuple[str, Any]]:
    """Return the variables of its surroundings that a function keeps."""
    return list(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def content_of(cell: Any) -> Any:
    """Return what a variable of a function's surroundings holds, None if it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def generator_state(value: Any) -> Any:
    """Return the state of a generator of random numbers, None for anything else."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator | np.random.BitGenerator):
        bits = value.bit_generator if isinstance(value, np.random.Generator) else value
        return {"bits": bits.state, "spawned": getattr(bits.seed_seq, "n_children_spawned", 0)}
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=False)
    has_state = isinstance(value, random.Random) and not isinstance(value, random.SystemRandom)
    return value.getstate() if has_state else None
