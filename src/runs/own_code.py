"""The code of a user's own that a run is made of: the modules that its settings name, and those beside them.

A run is identified by its settings. Two runs of equal settings are the same only if this code is the same, too.
"""

import ast
import hashlib
import importlib.util
import io
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from src.config.settings import Settings
from src.files import replace_files

OURS = ("torch", "src")  # whose versions are recorded otherwise: `versions`, and the recipe
LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib", "platstdlib"))


@dataclass(frozen=True)
class OwnCode:
    """Contents of files by path below the folder that Python finds them in, and versions of installed packages."""

    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()  # the classes, by module and name

    @cached_property
    def digest(self) -> str | None:
        """16 hexadecimal digits, which changes of comments and blank lines leave as they are; None without own code."""
        if not self.files and not self.versions:
            return None
        digest = hashlib.sha256(repr(sorted(self.versions.items())).encode())
        for name, source in sorted(self.files.items()):
            digest.update(f"{name}\0".encode() + _without_comments(source) + b"\0")
        return digest.hexdigest()[:16]

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return ", ".join([*sorted(self.files), *(f"{name} {number}" for name, number in sorted(self.versions.items()))])

    def copy_to(self, folder: Path) -> None:
        """Write copies of the files, as the record of what was run. Raises OSError."""
        contents = {folder / name: source for name, source in self.files.items()}
        for path in contents:
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_files(contents)


def own_code(settings: Settings) -> OwnCode:
    """Return the code of the network, optimizer and schedule that is not torch's or Ravine's.

    Nothing is imported. The code of data of the user's own does not count: their arrays are compared by their hash. The
    result is that of the first call in this process, which imports the code once, too.
    """
    return _of_targets(own_classes(settings))


def own_classes(settings: Settings) -> tuple[str, ...]:
    """Return the names of the classes of network, optimizer and schedule that are not torch's or Ravine's.

    Only runs with the same ones can be by two versions of a code: `OwnCode.digest` covers all of them at once.
    """
    named = set(_targets([settings.model, settings.optimizer, settings.schedule]))
    return tuple(sorted(name for name in named if name.partition(".")[0] not in OURS))


@cache
def _of_targets(targets: tuple[str, ...]) -> OwnCode:
    files: dict[str, bytes] = {}
    versions: dict[str, str] = {}
    for target in targets:
        package = target.partition(".")[0]
        if root := _root(package):
            files |= _with_imports(root, _module(root, target))
        elif number := _version(package):
            versions[package] = number
    return OwnCode(files, versions, targets)


def _targets(node: Any) -> Iterator[str]:
    """Yield each `_target_` in nested settings."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _targets(each)


@cache
def _root(package: str) -> Path | None:
    """Return the folder of a package or module of the user's own, None if it is installed, built in or not found."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or [])
    if not places:
        return None
    place = Path(places[0]).absolute()  # a link's name counts, as for Python
    # A folder without __init__.py has no file: its place is the folder itself.
    root = place.parent.parent if place.name == "__init__.py" else place.parent
    installed = (
        "site-packages" in root.parts
        or "dist-packages" in root.parts
        or any(root.is_relative_to(each) for each in LIBRARIES)
    )
    return None if installed else root


def module_file(target: str) -> Path | None:
    """Return the file of the user's own that importing a class runs; None if it is not one. Nothing is imported."""
    root = _root(target.partition(".")[0])
    return _file(root, _module(root, target)) if root else None


def _module(root: Path, dotted: str) -> list[str]:
    """Return the longest part of a dotted name that is a module below a folder."""
    parts = dotted.split(".")
    return next((parts[:end] for end in range(len(parts), 0, -1) if _file(root, parts[:end])), [])


def _file(root: Path, parts: list[str]) -> Path | None:
    at = root.joinpath(*parts)
    return next(
        (file for file in (at / "__init__.py", at.with_name(f"{at.name}.py")) if parts and file.is_file()), None
    )


def _with_imports(root: Path, module: list[str]) -> dict[str, bytes]:
    """Return the files of a module, the packages that it is in, and all modules of the user's own that these import."""
    found: dict[str, bytes] = {}
    waiting = [(root, module)]
    while waiting:
        below, parts = waiting.pop()
        for end in range(1, len(parts) + 1):
            file = _file(below, parts[:end])
            if file is None or (name := file.relative_to(below).as_posix()) in found or parts[0] in OURS:
                continue
            found[name] = file.read_bytes()
            package = parts[:end] if file.name == "__init__.py" else parts[: end - 1]
            waiting += [_place(below, dotted) for dotted in _imports(found[name], package)]
    return found


def _place(beside: Path, dotted: str) -> tuple[Path, list[str]]:
    """Return the folder that an imported module is found in, and its parts; none if it is not the user's own."""
    if here := _module(beside, dotted):
        return beside, here
    top = dotted.partition(".")[0]
    elsewhere = _root(top) if top and top not in OURS else None
    return (elsewhere, _module(elsewhere, dotted)) if elsewhere else (beside, [])


def _imports(source: bytes, package: list[str]) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever in it; `package` is the one that it belongs to."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # the import itself will say so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def _without_comments(source: bytes) -> bytes:
    """Return a file's source without comments and blank lines."""
    try:
        text = io.TextIOWrapper(io.BytesIO(source), tokenize.detect_encoding(io.BytesIO(source).readline)[0]).read()
        lines = text.splitlines()
        blank = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            row, column = token.start
            if token.type == tokenize.COMMENT:
                lines[row - 1] = lines[row - 1][:column].rstrip()
            if token.type in (tokenize.COMMENT, tokenize.NL) and not lines[row - 1][:column].strip():
                blank.add(row - 1)
        return "\n".join(line for row, line in enumerate(lines) if row not in blank).encode()
    except (SyntaxError, ValueError, IndexError, tokenize.TokenError):
        return source


@cache
def _version(package: str) -> str | None:
    """Return the version of the distribution that installed a package, None if it is not known."""
    if number := _of_distribution(package):
        return number
    names = metadata.packages_distributions().get(package, [])
    return next(filter(None, map(_of_distribution, names)), None)


def _of_distribution(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
