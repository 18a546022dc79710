"""Error messages for unknown keys, with suggestions."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf


def no_such_key(key: str, cfg: DictConfig | dict[str, Any]) -> str:
    """Return the error message for a `key` that `cfg` does not have, with a suggestion."""
    group, _, name = key.rpartition(".")
    keys = list(_keys(cfg if isinstance(cfg, dict) else OmegaConf.to_container(cfg), hydras=group.startswith("hydra")))
    beside = [each for each in keys if each.rpartition(".")[0] == group and each != key]  # `+key` may have added `key`
    names = [each.rpartition(".")[2] for each in beside]
    shown = [each for each in names if not each.startswith("_")] if group else []
    if near := difflib.get_close_matches(name, names, n=1):
        hint = f"did you mean {beside[names.index(near[0])]}?"
    elif shown:
        more = f" (+{key}=... adds an argument)" if group in ("model", "optimizer", "schedule") else ""
        hint = f"{group} has {', '.join(shown)}{more}"
        if below := _with_this_name(name, [group]):
            hint += f"; did you mean {below}?"
    elif below := _with_this_name(name, [group] if group else ["model", "optimizer", "schedule", "data"]):
        hint = f"did you mean {below}?"
    else:
        hint = "python -m src.train --cfg job lists all keys"
    return f"{key}: there is no such key; {hint}"


def _with_this_name(name: str, groups: Iterable[str]) -> str:
    """Return the key with this name in a member of the config groups, and the member; empty if there is none."""
    for group in groups:
        for file in sorted((Path(__file__).parent.parent / "conf" / group).glob("*.yaml")):
            member = OmegaConf.to_container(OmegaConf.load(file))
            if isinstance(member, dict) and name in member.get(group, member):
                return f"{group}.{name}, with {group}={file.stem}"
    return ""


def _keys(node: Any, prefix: str = "", hydras: bool = False) -> Iterator[str]:
    """Yield every key in `node`, as on the command line; Hydra's keys only if `hydras`."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if hydras or f"{prefix}{key}" != "hydra":
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.", hydras)
