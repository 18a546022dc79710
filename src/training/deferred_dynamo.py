"""A stand-in for torch's compiler, whose import takes a third of a command's start. Training does not need it.

Lightning imports `torch._dynamo` to recognise compiled modules, and torch.optim to exclude functions from compilation.
The stand-in has the three names that they use. Any other name of the real module, and any submodule, imports it. Names
that it lacks do not, since pickle looks for functions in all modules. Functions of torch.optim that have been called
before the import, such as `zero_grad`, are not excluded from compilation.
"""

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"


def defer() -> None:
    """Put the stand-in in the place of the module, unless that has been imported."""
    if NAME not in sys.modules:
        stand_in = sys.modules[NAME] = _StandIn(NAME)
        stand_in.__path__ = []  # a package, whose submodules `_Finder` finds
        sys.meta_path.insert(0, _Finder())


def _real() -> ModuleType:
    if isinstance(sys.modules.get(NAME), _StandIn):
        del sys.modules[NAME]
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    return importlib.import_module(NAME)


@cache
def _names() -> frozenset[str]:
    """Return the words of the real module's source, its names among them, and its submodules; none without source."""
    spec = PathFinder.find_spec(NAME, torch.__path__)
    assert spec is not None
    assert isinstance(spec.loader, InspectLoader)
    source = spec.loader.get_source(NAME)
    submodules = [module.name for module in pkgutil.iter_modules(spec.submodule_search_locations)]
    return frozenset([*re.findall(r"\w+", source), *submodules] if source else [])


class _Compiled(type):
    """Of a class whose instances are those of the real one; there are none before the real module is imported."""

    def __instancecheck__(cls, instance: object) -> bool:
        module = sys.modules[NAME]
        return not isinstance(module, _StandIn) and isinstance(instance, module.OptimizedModule)


class _StandIn(ModuleType):
    OptimizedModule = _Compiled("OptimizedModule", (), {})

    @staticmethod
    def graph_break() -> None:
        pass

    @staticmethod
    def disable(fn: Any = None, *arguments: Any, **options: Any) -> Any:
        if (getattr(fn, "__module__", None) or "").startswith(("torch.optim.", "pytorch_lightning.")):
            return fn
        return _real().disable(fn, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        # The import system and debuggers ask for names such as `__file__`, pickle for any.
        if name.startswith("__") or (_names() and name not in _names()):
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        return getattr(_real(), name)


class _Finder(MetaPathFinder, Loader):
    """Imports the real module when a submodule of the stand-in is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(f"{NAME}."):
            return None
        _real()
        if name not in sys.modules:
            return importlib.util.find_spec(name)
        module = sys.modules[name]  # the real module has imported it
        # With a specification of its own, Python would import it a second time.
        self.spec, module.__spec__ = module.__spec__, None
        return ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec
