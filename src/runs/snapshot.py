"""All state of an optimizer and a network as plain data, also what their `state_dict` lacks.

A momentum in a Python attribute, an optimizer within an optimizer, a counter, a buffer that is not persistent or a
generator would be lost when a run resumes. A snapshot is the graph of the objects that are reached from the network
and the optimizer: nodes of plain values and tensors, which `torch.load(weights_only=True)` reads. Shared objects stay
shared, and so do tensors that share memory.
"""

import enum
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from types import FunctionType
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor, nn

from src.runs.kinds import (
    BOUND,
    CONSTANT,
    FACTORIES,
    HARMLESS,
    SCALARS,
    SEQUENCES,
    VALUES,
    attributes,
    cells_of,
    content_of,
    generator_state,
    hooks_in_order,
    is_of_a_library,
    is_open,
    name_of,
    owner_of,
    tensor_hooks,
)

Node = dict[str, Any]


class Snapshot:
    """The nodes of the objects reached from `roots`. `unsaved` names each place whose state cannot be saved."""

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self.nodes: list[Node] = []
        self.places: list[str] = []  # of the nodes
        self.unsaved: dict[str, str] = {}  # the type of what is there
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # an object's id is free once it is gone
        self._arrays: dict[int, int] = {}  # numbers of the memory of arrays, by address
        self._tensors: set[int] = set()  # addresses of the memory of tensors
        self.roots: dict[str, Any] = {}
        for name, root in roots.items():
            self._add(name, root)
        for address, number in self._arrays.items():
            for node in self.nodes:
                if node.get("memory") == number:
                    node["is_a_tensors"] = address in self._tensors

    def _add(self, name: str, root: Any) -> None:
        try:
            self.roots[name] = self._encoded(root, name)
        except RecursionError:
            self.unsaved[name] = "nested too deeply"

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
            try:
                self.nodes[number] = self._node(value, place)
            except RecursionError:
                raise
            except Exception:  # a user's class may raise anything
                self.nodes[number] = {"kind": "closed", "type": name_of(type(value)), "hash": ""}
                self.unsaved[place] = type(value).__name__
        return {"node": self._numbers[id(value)]}

    def _node(self, value: Any, place: str) -> Node:
        kind = type(value)
        typed = {"type": name_of(kind)}
        if isinstance(value, Tensor):
            return self._tensor(value, place)
        if kind is np.ndarray and value.dtype.kind in "biufcSUmM":
            return {"kind": "array", "memory": self._memory_of(value), **_bytes(value)}
        if isinstance(value, np.generic) and value.dtype.kind in "biufcSUmM":
            return {"kind": "number", **_bytes(value)}
        if kind in VALUES:
            return {"kind": "value", **typed, "value": VALUES[kind][0](value)}
        if isinstance(value, enum.Enum):
            return {"kind": "enum", **typed, "name": value.name}
        if (state := generator_state(value)) is not None:
            return {"kind": "generator", **typed, "state": self._encoded(state, place), **self._own(value, place)}
        if isinstance(value, SEQUENCES):
            return self._sequence(value, place)
        if isinstance(value, dict):
            return self._mapping(value, place)
        if isinstance(value, BOUND) and owner_of(value) is not None:
            parts = [owner_of(value), getattr(value, "__func__", None)]
            return {"kind": "parts", "items": [self._encoded(part, place) for part in parts]}
        if isinstance(value, partial):
            parts = [value.func, value.args, value.keywords]
            return {"kind": "parts", "items": [self._encoded(part, place) for part in parts]}
        if isinstance(value, FunctionType) and not is_of_a_library(value.__module__ or ""):
            held = [(name, content_of(cell)) for name, cell in cells_of(value)]
            held += [("defaults", value.__defaults__), ("defaults", value.__kwdefaults__)]
            cells = [self._encoded(each, f"{place}.{name}") for name, each in held]
            return {"kind": "function", "cells": cells, **self._attributes(value, place)}
        if is_open(value):
            return {"kind": "object", **typed, **self._attributes(value, place)}
        return self._closed(value, place)

    def _tensor(self, tensor: Tensor, place: str) -> Node:
        if tensor.layout == torch.strided and tensor.numel():
            self._tensors.add(tensor.untyped_storage().data_ptr())
        node: Node = {
            "kind": "tensor", "value": tensor.detach(), "device": tensor.device.type,
            "parameter": isinstance(tensor, nn.Parameter), "requires_grad": tensor.requires_grad,
        }  # fmt: skip
        if hooks := tensor_hooks(tensor):
            node["hooks"] = self._encoded(hooks, f"{place} hook")
        return node | self._attributes(tensor, place)

    def _memory_of(self, array: Any) -> int:
        """Return a number that arrays share if their memory is the same."""
        while isinstance(array.base, np.ndarray):
            array = array.base
        return self._arrays.setdefault(array.ctypes.data, len(self._arrays))

    def _sequence(self, value: Any, place: str) -> Node:
        items = self._ordered(value, place) if isinstance(value, set | frozenset) else value
        children = [self._encoded(each, f"{place}[{at}]") for at, each in enumerate(items)]
        node: Node = {"kind": "sequence", "type": name_of(type(value)), "items": children}
        if isinstance(value, deque):
            node["limit"] = value.maxlen
        return node | self._own(value, place)

    def _mapping(self, value: Any, place: str) -> Node:
        base: Any = OrderedDict if isinstance(value, OrderedDict) else dict  # not what a user's class overrides
        pairs = [
            [self._key(key, place), self._encoded(each, f"{place}[{_shown(key)}]")] for key, each in base.items(value)
        ]
        node: Node = {"kind": "mapping", "type": name_of(type(value)), "items": pairs}
        if isinstance(value, defaultdict) and value.default_factory in FACTORIES:
            node["factory"] = name_of(value.default_factory)
        return node | self._own(value, place)

    def _key(self, key: Any, place: str) -> Any:
        """Return a key; the id of an object that is known becomes a reference, since another process has other ids."""
        if type(key) is int and key in self._numbers:
            return {"node": self._numbers[key], "by": "id"}
        return self._encoded(key, f"{place} key")

    def _closed(self, value: Any, place: str) -> Node:
        """Return the node of an object whose parts are unknown: a hash tells whether it has changed."""
        node = {"kind": "closed", "type": name_of(type(value)), "hash": ""}
        if isinstance(value, (*CONSTANT, *HARMLESS)) or callable(value):
            return node
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python deprecates the pickling of iterators
                node["hash"] = sha256(cloudpickle.dumps(value)).hexdigest()
        except Exception:  # it may raise anything
            self.unsaved[place] = type(value).__name__
        return node

    def _own(self, value: Any, place: str) -> Node:
        """Return the attributes of an object of a class that is derived from a container or a generator."""
        return {} if is_of_a_library(type(value).__module__) else self._attributes(value, place)

    def _attributes(self, value: Any, place: str) -> Node:
        found = {name: hooks_in_order(name, each) for name, each in attributes(value).items() if each is not value}
        return (
            {"attributes": [[name, self._encoded(each, at(place, name))] for name, each in found.items()]}
            if found
            else {}
        )

    def _ordered(self, items: Any, place: str) -> list[Any]:
        """Return the items of a set: in their order if they are numbers, else in one that equal sets share."""
        found = list(items)
        if not all(type(each) in (int, float, bool) for each in found):
            return sorted(found, key=lambda each: (self._numbers.get(id(each), -1), repr(each)))
        if list(set(found)) != found:  # its order comes from its history, and cannot be made again
            self.unsaved[place] = "set in an order of its own"
        return found


def named(places: Mapping[str, str]) -> list[str]:
    """Return places, each with the type of what is there."""
    return [f"{place} ({kind})" for place, kind in places.items()]


def at(place: str, name: str) -> str:
    """Return a place as its author would write it: a module's parts are its attributes."""
    return place if name in ("_modules", "_parameters", "_buffers") else f"{place}.{name}"


def _shown(key: Any) -> str:
    return type(key).__name__ if isinstance(key, Tensor | nn.Module) else repr(key)[:40]


def _bytes(value: Any) -> Node:
    array = np.ascontiguousarray(value)
    content = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8) if array.size else torch.empty(0)
    return {"dtype": array.dtype.str, "shape": list(np.shape(value)), "bytes": content}
