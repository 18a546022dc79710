"""Which classes a record may name: a stranger may have written it, and importing a class runs its module."""

import importlib.util
import re
from pathlib import Path

from src.config.settings import CONF
from src.errors import UserError
from src.runs.own_code import module_file

SAFE = ("torch", "torchvision", "src")
NAMED = re.compile(r"^\s*_target_:\s*['\"]?([\w.]+)", re.MULTILINE)


def check_trusted(target: object, directory: Path) -> None:
    """Raise UserError if a record names a class that is neither of `SAFE` packages nor named in conf/.

    Nothing is imported.
    """
    name = str(target)
    if name.partition(".")[0] in SAFE or name in _in_conf():
        return
    raise UserError(
        f"{directory}: its run.json names {name}, so {_code_of(name)} would be run; if you trust it, add trust=true"
    )


def _in_conf() -> set[str]:
    """Return the classes that the present configuration names."""
    files = (file for file in Path(CONF).glob("*/*.yaml") if file.is_file())
    return {name for file in files for name in NAMED.findall(file.read_text(encoding="utf-8", errors="replace"))}


def _code_of(target: str) -> str:
    """Return the file that would be run, or what is known of it."""
    if file := module_file(target):
        return str(file)
    try:
        spec = importlib.util.find_spec(target.partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    return str(spec.origin or spec.name) if spec else f"a module {target.rpartition('.')[0] or target}"
