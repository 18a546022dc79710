"""All state of an optimizer and a network as plain data, also what their `state_dict` lacks.

A momentum in a Python attribute, an optimizer within an optimizer, a counter, a buffer that is not persistent or a
generator would be lost when a run resumes. A snapshot is the graph of the objects that are reached from the network
and the optimizer: nodes of plain values and tensors, which `torch.load(weights_only=True)` reads. Shared objects stay
shared, and so do tensors that share memory.
"""

import random
import re
import sys
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from hashlib import sha256
from types import FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ProxyTypes, ReferenceType

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import RemovableHandle

Node = dict[str, Any]
SCALARS = (type(None), bool, int, float, str)
SEQUENCES = (list, tuple, deque, set, frozenset)
MAPPINGS = (dict, OrderedDict, Counter, defaultdict)
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
FACTORIES = (list, dict, set, int, float)  # of dictionaries that make missing values
HOOKS = re.compile(r"_\w*_hooks(_\w+)?")


class Snapshot:
    """The nodes of the objects reached from `roots`. `unsaved` names each place whose state cannot be saved."""

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self.nodes: list[Node] = []
        self.places: list[str] = []  # of the nodes
        self.unsaved: dict[str, str] = {}  # the type of what is there
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # an object's id is free once it is gone
        self.roots = {name: self._encoded(root, name) for name, root in roots.items()}

    @property
    def content(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"roots": self.roots, "nodes": self.nodes}

    def _encoded(self, value: Any, place: str) -> Any:
        """Return a scalar itself, and for anything else a reference to its node."""
        if type(value) in SCALARS:
            return value
        if id(value) not in self._numbers:
            self._numbers[id(value)] = number = len(self.nodes)
            self._kept.append(value)
            self.nodes.append({})
            self.places.append(place)
            self.nodes[number] = self._node(value, place)
        return {"node": self._numbers[id(value)]}

    def _node(self, value: Any, place: str) -> Node:
        kind = type(value)
        if isinstance(value, Tensor):
            return tensor_node(value)
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSUmM":
            return {"kind": "array" if isinstance(value, np.ndarray) else "number", **_array(value)}
        if kind in VALUES:
            return {"kind": "value", "type": name_of(kind), "value": VALUES[kind][0](value)}
        if (state := generator_state(value)) is not None:
            return {"kind": "generator", "type": name_of(kind), "state": self._encoded(state, place)}
        if isinstance(value, SEQUENCES):
            items = self._ordered(value) if isinstance(value, set | frozenset) else value
            children = [self._encoded(each, f"{place}[{at}]") for at, each in enumerate(items)]
            limit = {"limit": value.maxlen} if isinstance(value, deque) else {}
            return (
                {"kind": "sequence", "type": name_of(kind), "items": children} | limit | self._attributes(value, place)
            )
        if isinstance(value, dict):
            pairs = [
                [self._encoded(key, f"{place} key"), self._encoded(each, f"{place}[{_shown(key)}]")]
                for key, each in value.items()
            ]
            makes = getattr(value, "default_factory", None)
            factory = {"factory": name_of(makes)} if makes in FACTORIES else {}
            return {"kind": "mapping", "type": name_of(kind), "items": pairs} | factory | self._attributes(value, place)
        if isinstance(value, MethodType):
            return {"kind": "parts", "items": [self._encoded(value.__self__, place)]}
        if isinstance(value, partial):
            parts = [self._encoded(part, place) for part in (value.func, value.args, value.keywords)]
            return {"kind": "parts", "items": parts}
        if isinstance(value, FunctionType) and not _is_of_a_library(value.__module__ or ""):
            cells = [self._encoded(content_of(cell), f"{place}.{name}") for name, cell in cells_of(value)]
            return {"kind": "function", "cells": cells} | self._attributes(value, place)
        if _is_open(value):
            return {"kind": "object", "type": name_of(kind)} | self._attributes(value, place)
        return self._closed(value, place)

    def _closed(self, value: Any, place: str) -> Node:
        """Return the node of an object whose parts are unknown: a hash tells whether it has changed."""
        if isinstance(value, CONSTANT) or callable(value):
            return {"kind": "closed", "type": name_of(type(value)), "hash": ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python deprecates the pickling of iterators
                found = sha256(cloudpickle.dumps(value)).hexdigest()
        except Exception:  # it may raise anything
            found = ""
            if isinstance(value, Iterator):
                self.unsaved[place] = type(value).__name__
        return {"kind": "closed", "type": name_of(type(value)), "hash": found}

    def _attributes(self, value: Any, place: str) -> Node:
        found = {name: hooks_in_order(name, each) for name, each in attributes(value).items()}
        return (
            {"attributes": [[name, self._encoded(each, _at(place, name))] for name, each in found.items()]}
            if found
            else {}
        )

    def _ordered(self, items: Any) -> list[Any]:
        """Return the items of a set in an order that equal sets share."""
        return sorted(items, key=lambda each: (self._numbers.get(id(each), -1), repr(each)))


def _at(place: str, name: str) -> str:
    """Return a place as its author would write it: a module's parts are its attributes."""
    return place if name in ("_modules", "_parameters", "_buffers") else f"{place}.{name}"


def _shown(key: Any) -> str:
    if isinstance(key, Tensor | nn.Module):
        return type(key).__name__
    return repr(key)[:40]


def name_of(kind: type) -> str:
    """Return the name of a type by its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def tensor_node(tensor: Tensor) -> Node:
    """Return the node of a tensor; `torch.save` writes memory that several tensors share once."""
    parameter = isinstance(tensor, nn.Parameter)
    return {
        "kind": "tensor", "value": tensor.detach(), "device": tensor.device.type,
        "parameter": parameter, "requires_grad": tensor.requires_grad,
    }  # fmt: skip


def _array(array: Any) -> Node:
    array = np.asarray(array)
    content = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8) if array.size else torch.empty(0)
    return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": content}


def generator_state(value: Any) -> Any:
    """Return the state of a generator of random numbers, None for anything else."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.BitGenerator):
        return value.state
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=False)
    return value.getstate() if type(value) is random.Random else None


def hooks_in_order(name: str, value: Any) -> Any:
    """Return the hooks of a network or an optimizer as a list: their keys differ from process to process."""
    return list(value.values()) if HOOKS.fullmatch(name) and isinstance(value, dict) else value


def attributes(value: Any) -> dict[str, Any]:
    """Return an object's attributes, those in slots included."""
    found = {}
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ()) if not _is_of_a_library(cls.__module__) else ()
        for name in [slots] if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found | getattr(value, "__dict__", {})


def _is_of_a_library(module: str) -> bool:
    package = module.partition(".")[0]
    return package in ("torch", "numpy") or package in sys.stdlib_module_names


def _is_open(value: Any) -> bool:
    """Return True if the attributes of an object are its state: those of a user's class, a network, an optimizer."""
    if isinstance(value, nn.Module | Optimizer | LRScheduler):
        return True
    return not (isinstance(value, CONSTANT) or _is_of_a_library(type(value).__module__)) and bool(attributes(value))


def cells_of(function: FunctionType) -> list[tuple[str, Any]]:
    """Return the variables of its surroundings that a function keeps."""
    return list(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def content_of(cell: Any) -> Any:
    """Return what a variable of a function's surroundings holds, None if it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def differing(content: Any, snapshot: Snapshot) -> dict[str, str]:
    """Return the places where a snapshot differs from the content of another one, and the types of what is there."""
    return _Comparison(content["nodes"], snapshot).differing(content["roots"])


class _Comparison:
    def __init__(self, nodes: list[Node], snapshot: Snapshot) -> None:
        self.nodes, self.snapshot = nodes, snapshot
        self.found: dict[str, str] = {}
        self._seen: set[tuple[int, int]] = set()
        self._memory: dict[int, int] = {}  # where memory of the one is in the other
        self._back: dict[int, int] = {}

    def differing(self, roots: dict[str, Any]) -> dict[str, str]:
        for name, root in roots.items():
            self._compare(root, self.snapshot.roots[name], name)
        return self.found

    def _compare(self, one: Any, other: Any, place: str) -> None:
        if not (isinstance(one, dict) and isinstance(other, dict)):
            if type(one) is not type(other) or not (one == other or (one != one and other != other)):
                self.found.setdefault(place, type(one).__name__)
            return
        if (pair := (one["node"], other["node"])) in self._seen:
            return
        self._seen.add(pair)
        mine, its, place = self.nodes[pair[0]], self.snapshot.nodes[pair[1]], self.snapshot.places[pair[1]]
        kind = str(mine.get("type", mine["kind"])).rpartition(".")[2]
        same = mine.keys() == its.keys() and all(self._same(key, mine[key], its[key], place) for key in mine)
        if not same:
            self.found.setdefault(place, kind)

    def _same(self, key: str, one: Any, other: Any, place: str) -> bool:
        """Compare parts of two nodes; parts that are nodes themselves are reported by themselves."""
        if isinstance(one, Tensor):
            return self._same_tensor(one, other)
        if key == "state":
            self._compare(one, other, place)
            return True
        if key == "attributes":
            ones, others = dict(one), dict(other)
            for name in ones.keys() & others.keys():
                self._compare(ones[name], others[name], _at(place, name))
            for name in ones.keys() ^ others.keys():
                self.found.setdefault(_at(place, name), "attribute")
            return True
        if key in ("items", "cells"):
            for each, its in zip(one, other, strict=False):
                pairs = zip(each, its, strict=True) if isinstance(each, list) else [(each, its)]
                for part, its_part in pairs:
                    self._compare(part, its_part, place)
            return len(one) == len(other)
        return bool(one == other)

    def _same_tensor(self, one: Tensor, other: Tensor) -> bool:
        if (one.dtype, one.shape, one.layout) != (other.dtype, other.shape, other.layout):
            return False
        if one.layout == torch.strided and one.numel():
            memory, its = (tensor.untyped_storage().data_ptr() for tensor in (one, other))
            shared = self._memory.setdefault(memory, its) == its and self._back.setdefault(its, memory) == memory
            if not shared or one.stride() != other.stride():
                return False
        same = (one == other) | ((one != one) & (other != other))
        return bool(same.to_dense().all() if same.layout != torch.strided else same.all())
