"""Restores the state of a network and an optimizer from a snapshot, in the objects that were just built."""

import enum
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src.files import Damaged
from src.runs.kinds import (
    BOUND,
    FACTORIES,
    MAPPINGS,
    SEQUENCES,
    VALUES,
    attributes,
    cells_of,
    content_of,
    hooks_in_order,
    is_of_a_library,
    name_of,
    owner_of,
    tensor_hooks,
)
from src.runs.snapshot import Node

MISSING: Any = object()  # what is not there, or cannot be built
TYPES: dict[str, Any] = {name_of(kind): kind for kind in (*SEQUENCES, *MAPPINGS, *FACTORIES)}
CHANGED = ("array", "generator", "sequence", "mapping", "object", "tensor")  # kinds that are changed in place
BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def restore(content: Any, roots: Mapping[str, Any], device: str = "cpu") -> None:
    """Give the objects that are reached from `roots` the state that a snapshot's `content` holds. Raises Damaged.

    Tensors and containers are changed in place, so that whatever shares them still does. What the new objects lack is
    built if it is a tensor, an array, a generator or a container.
    """
    try:
        restoration = _Restoration(content["nodes"], device)
        there = {name: root for name, root in roots.items() if name in content["roots"]}
        lost = [name for name, root in there.items() if restoration.restored(content["roots"][name], root) is MISSING]
    except RecursionError:
        raise Damaged("its snapshot is nested too deeply") from None
    except Exception as error:  # a file that was edited can raise anything
        raise Damaged(f"its snapshot cannot be restored: {type(error).__name__}: {error}") from None
    if lost:
        raise Damaged(f"its {lost[0]} is of another class")


class _Restoration:
    def __init__(self, nodes: list[Node], device: str) -> None:
        self.nodes, self.device = nodes, device
        self.done: dict[int, Any] = {}
        self.storages: dict[int, torch.UntypedStorage] = {}  # where memory of the snapshot has its new place
        self.taken: set[int] = set()
        self.claims: dict[int, int] = {}  # which node an object that was just built is changed into, by its id
        self.kept: list[Any] = []  # an object's id is free once it is gone
        self.by_kind: dict[str, Callable[[Node, int, Any], Any]] = {
            "closed": self._closed,
            "value": self._value,
            "array": self._array,
            "number": self._number,
            "enum": self._enum,
            "generator": self._generator,
            "sequence": self._sequence,
            "mapping": self._mapping,
            "parts": self._parts,
            "function": self._function,
            "object": self._object,
            "tensor": self._tensor,
        }

    def restored(self, encoded: Any, present: Any = MISSING) -> Any:
        """Return what is encoded, `present` itself where it can be changed in place; MISSING if it cannot be built."""
        if not isinstance(encoded, dict):
            return encoded
        number = encoded["node"]
        if number not in self.done:
            node = self.nodes[number]
            if (
                present is not MISSING
                and not isinstance(present, tuple | frozenset)
                and node["kind"] in CHANGED
                and self.claims.setdefault(id(present), number) != number
            ):
                present = _another(type(present)) if node["kind"] == "object" else MISSING  # one object has become two
            self.kept.append(present)
            self.done[number] = present  # found again where objects refer to each other in a circle
            found = self.by_kind[node["kind"]](node, number, present)
            if found is MISSING:
                del self.done[number]  # there may be a place where it is present
                return MISSING
            self.done[number] = found
        return id(self.done[number]) if encoded.get("by") == "id" else self.done[number]

    def _closed(self, node: Node, number: int, present: Any) -> Any:
        return present

    def _value(self, node: Node, number: int, present: Any) -> Any:
        (read,) = (read for kind, (_, read) in VALUES.items() if name_of(kind) == node["type"])
        return read(node["value"])

    def _enum(self, node: Node, number: int, present: Any) -> Any:
        kind = _class(node["type"], present)
        return kind[node["name"]] if kind and issubclass(kind, enum.Enum) else MISSING

    def _array(self, node: Node, number: int, present: Any) -> Any:
        found = np.frombuffer(node["bytes"].numpy().tobytes(), np.dtype(node["dtype"])).reshape(node["shape"])
        if not isinstance(present, np.ndarray) or (present.dtype, present.shape) != (found.dtype, found.shape):
            return found.copy()
        if present.flags.writeable:
            present[...] = found
        return present

    def _number(self, node: Node, number: int, present: Any) -> Any:
        return self._array(node, number, MISSING)[()]

    def _generator(self, node: Node, number: int, present: Any) -> Any:
        state = self.restored(node["state"])
        if present is MISSING:
            present = _new_generator(node["type"], state)
        if isinstance(present, np.random.Generator | np.random.BitGenerator):
            bits = present.bit_generator if isinstance(present, np.random.Generator) else present
            bits.state = state["bits"]
            if more := state["spawned"] - getattr(bits.seed_seq, "n_children_spawned", 0):
                bits.seed_seq.spawn(more)  # type: ignore[attr-defined]
        elif isinstance(present, random.Random):
            present.setstate(state)
        else:
            present.set_state(state)
        self._set_attributes(node, present)
        return present

    def _sequence(self, node: Node, number: int, present: Any) -> Any:
        there = list(present) if isinstance(present, SEQUENCES) else []
        if isinstance(present, list):  # known before its items, which may refer to it
            self.done[number] = present
        padded = [*there, *[MISSING] * len(node["items"])]
        if isinstance(present, set | frozenset):
            padded = [MISSING] * len(node["items"])
        items = [self.restored(each, padded[at]) for at, each in enumerate(node["items"])]
        if any(each is MISSING for each in items):
            return present
        if isinstance(present, tuple | frozenset):
            if len(items) == len(there) and all(one is other for one, other in zip(items, there, strict=True)):
                return present
            if name_of(type(present)) == node["type"]:
                return type(present)._make(items) if hasattr(present, "_make") else type(present)(items)
        if present is not MISSING and name_of(type(present)) == node["type"]:
            present.clear()
            present.update(items) if isinstance(present, set) else present.extend(items)
            self._set_attributes(node, present)
            return present
        kind = TYPES.get(node["type"]) or _class(node["type"])
        if kind is None or not issubclass(kind, SEQUENCES):
            return MISSING
        if hasattr(kind, "_make"):
            return kind._make(items)
        found = kind(items, node["limit"]) if "limit" in node else kind(items)
        self._set_attributes(node, found)
        return found

    def _mapping(self, node: Node, number: int, present: Any) -> Any:
        same = present is not MISSING and name_of(type(present)) == node["type"]
        if not same:
            kind = TYPES.get(node["type"]) or _class(node["type"])
            if (
                kind is None
                or not issubclass(kind, dict)
                or (node["type"] == "collections.defaultdict" and node.get("factory") not in TYPES)
            ):
                return MISSING
            present = kind(TYPES[node["factory"]]) if "factory" in node else kind.__new__(kind)
        self.done[number] = present
        keys, pairs = list(dict.keys(present)), []
        for place, (key, value) in enumerate(node["items"]):
            at = self.restored(key, keys[place] if place < len(keys) else MISSING)
            pairs.append((at, self.restored(value, MISSING if at is MISSING else dict.get(present, at, MISSING))))
        if not any(part is MISSING for pair in pairs for part in pair):
            base: Any = OrderedDict if isinstance(present, OrderedDict) else dict  # not what a user's class overrides
            base.clear(present)
            for key, value in pairs:
                base.__setitem__(present, key, value)
        self._set_attributes(node, present)
        return present

    def _parts(self, node: Node, number: int, present: Any) -> Any:
        parts = [owner_of(present), getattr(present, "__func__", None)] if isinstance(present, BOUND) else []
        if isinstance(present, partial):
            parts = [present.func, present.args, present.keywords]
        for encoded, part in zip(node["items"], parts, strict=False):
            self.restored(encoded, part)
        return present

    def _function(self, node: Node, number: int, present: Any) -> Any:
        if isinstance(present, FunctionType):
            *held, defaults, named = node["cells"]
            for encoded, (_, cell) in zip(held, cells_of(present), strict=False):
                before = content_of(cell)
                after = self.restored(encoded, before)
                if after is not before and after is not MISSING:
                    cell.cell_contents = after
            self.restored(defaults, present.__defaults__)
            self.restored(named, present.__kwdefaults__)
            self._set_attributes(node, present)
        return present

    def _object(self, node: Node, number: int, present: Any) -> Any:
        if present is MISSING or name_of(type(present)) != node["type"]:
            if (kind := _class(node["type"])) is None or (present := _another(kind)) is MISSING:
                return MISSING
            self.done[number] = present
        self._set_attributes(node, present)
        return present

    def _set_attributes(self, node: Node, present: Any) -> None:
        there = attributes(present) if "attributes" in node else {}
        for name, encoded in node.get("attributes", ()):
            before = there.get(name, MISSING)
            hooks = hooks_in_order(name, before)
            after = self.restored(encoded, hooks)
            if hooks is not before or after is before or after is MISSING or name.startswith("__"):
                continue
            if name in getattr(present, "__dict__", {}) or not hasattr(type(present), name):
                present.__dict__[name] = after
            else:  # in a slot
                object.__setattr__(present, name, after)

    def _tensor(self, node: Node, number: int, present: Any) -> Any:
        saved: Tensor = node["value"]
        alike = isinstance(present, Tensor) and (present.dtype, present.layout) == (saved.dtype, saved.layout)
        if alike and isinstance(present, nn.Parameter) == node["parameter"]:
            self._move(saved, present)
        else:
            device = self.device if node["device"] != "cpu" else "cpu"
            present = self._view(saved, torch.device(device))
            present = nn.Parameter(present, node["requires_grad"]) if node["parameter"] else present
        if present.is_leaf and present.requires_grad != node["requires_grad"]:
            present.requires_grad_(node["requires_grad"])
        self.done[number] = present
        if "hooks" in node:
            self.restored(node["hooks"], tensor_hooks(present))
        self._set_attributes(node, present)
        return present

    def _move(self, saved: Tensor, present: Tensor) -> None:
        """Copy into the memory of `present`, unless the snapshot's tensors share memory in another way."""
        if saved.layout != torch.strided or not saved.numel():
            present.data = saved.to(present.device)
            return
        storage, own = saved.untyped_storage(), present.untyped_storage()
        key, fits = storage.data_ptr(), _layout(saved) == _layout(present)
        if key not in self.storages and fits and own.data_ptr() not in self.taken:
            own.copy_(storage, False)
            self.storages[key] = own
            self.taken.add(own.data_ptr())
        if not fits or key not in self.storages or self.storages[key].data_ptr() != own.data_ptr():
            present.data = self._view(saved, present.device)

    def _view(self, saved: Tensor, device: torch.device) -> Tensor:
        """Return the snapshot's tensor where its memory is now."""
        if saved.layout != torch.strided or not saved.numel():
            return saved.to(device)
        key = saved.untyped_storage().data_ptr()
        if key not in self.storages:
            self.storages[key] = (
                saved.untyped_storage() if device.type == "cpu" else saved.untyped_storage().to(device=device)
            )
        view = torch.empty(0, dtype=saved.dtype, device=device)
        return view.set_(self.storages[key], saved.storage_offset(), saved.shape, saved.stride())


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.untyped_storage().nbytes()


def _new_generator(kind: str, state: Any) -> Any:
    if kind == "random.Random":
        return random.Random()
    if kind == "torch._C.Generator":
        return torch.Generator()
    name = state.get("bits", state)["bit_generator"]
    if name not in BIT_GENERATORS:
        raise ValueError(f"a generator {name}")
    bits = getattr(np.random, name)()
    return {
        "numpy.random._generator.Generator": np.random.Generator,
        "numpy.random.mtrand.RandomState": np.random.RandomState,
    }[kind](bits)


def _another(kind: type) -> Any:
    """Return a new object of a class, without state; MISSING if it cannot be built without its constructor."""
    try:
        return object.__new__(kind)
    except TypeError:
        return MISSING


def _class(name: str, present: Any = MISSING) -> Any:
    """Return the class of this name: that of `present`, or one of a module of the user's own; None if there is none."""
    if name_of(type(present)) == name:
        return type(present)
    module = next((part for part in _modules(name) if part in sys.modules), None)
    if module is None or is_of_a_library(module) or module.partition(".")[0] in ("src", "builtins"):
        return None
    found: Any = sys.modules[module]
    for part in name.removeprefix(f"{module}.").split("."):
        found = vars(found).get(part) if isinstance(found, type | ModuleType) else None
    return found if isinstance(found, type) and not issubclass(found, BaseException) else None


def _modules(name: str) -> Iterator[str]:
    """Yield the modules that a dotted name may begin with, the longest first."""
    while name := name.rpartition(".")[0]:
        yield name
