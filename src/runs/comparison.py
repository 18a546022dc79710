"""Where two snapshots differ."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from src.runs.snapshot import Node, Snapshot, at


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
        kind = _kind(one, self.nodes)
        same = mine.keys() == its.keys() and all(self._same(key, mine[key], its[key], place) for key in mine)
        if not same:
            self.found.setdefault(place, kind)

    def _same(self, key: str, one: Any, other: Any, place: str) -> bool:
        """Compare parts of two nodes; parts that are nodes themselves are reported by themselves."""
        if isinstance(one, Tensor):
            return self._same_tensor(one, other)
        if key in ("state", "hooks"):
            self._compare(one, other, place)
            return True
        if key == "attributes":
            ones, others = dict(one), dict(other)
            for name in ones.keys() & others.keys():
                self._compare(ones[name], others[name], at(place, name))
            for some, rest, nodes in ((ones, others, self.nodes), (others, ones, self.snapshot.nodes)):
                for name in some.keys() - rest.keys():
                    self.found.setdefault(at(place, name), _kind(some[name], nodes))
            return True
        if key in ("items", "cells"):
            for each, its in zip(one, other, strict=False):
                pairs: Iterator[Any] = zip(each, its, strict=True) if isinstance(each, list) else iter([(each, its)])
                for part, its_part in pairs:
                    self._compare(part, its_part, place)
            return len(one) == len(other)
        return bool(one == other)

    def _same_tensor(self, one: Tensor, other: Tensor) -> bool:
        if (one.dtype, one.shape, one.layout) != (other.dtype, other.shape, other.layout):
            return False
        if one.layout != torch.strided:
            one, other = one.to_dense(), other.to_dense()
        elif one.numel():
            memory, its = (tensor.untyped_storage().data_ptr() for tensor in (one, other))
            shared = self._memory.setdefault(memory, its) == its and self._back.setdefault(its, memory) == memory
            if not shared or one.stride() != other.stride():
                return False
        return bool(((one == other) | ((one != one) & (other != other))).all())


def _kind(encoded: Any, nodes: list[Node]) -> str:
    """Return the name of the type of what is encoded."""
    if not isinstance(encoded, dict):
        return type(encoded).__name__
    node = nodes[encoded["node"]]
    return str(node.get("type", node["kind"])).rpartition(".")[2]
