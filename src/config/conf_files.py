"""Checks of configuration files before they are read, which could otherwise hang or take all memory."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from src.errors import UserError
from src.files import irregular, read_file

LARGEST_CONFIG = 2**20  # bytes
DEEPEST = 100  # brackets
BRACKETS = re.compile(rb"[\[\]{}]")
MOST_VALUES = 100_000  # that aliases may stand for


def check_conf(folders: Iterable[Path]) -> None:
    """Raise UserError for a YAML file in these folders that is no regular file, too large, or a bomb of aliases."""
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            if (what := irregular(file)) and what != "a folder":
                raise UserError(f"{file}: is {what}, not a configuration; remove it")
            if not what and file.exists():
                if (size := file.stat().st_size) > LARGEST_CONFIG:
                    raise UserError(f"{file}: has {size:,} bytes; a configuration may have {LARGEST_CONFIG:,}")
                try:
                    check_aliases(file.read_bytes())
                except ValueError as error:
                    raise UserError(f"{file}: {error}") from None
                except OSError:
                    continue  # Hydra tells it, if it needs the file


def stored_config(file: Path) -> DictConfig | ListConfig:
    """Return the YAML file that Hydra wrote to a run, which anybody may have changed since. Raises whatever it may."""
    text = read_file(file, largest=LARGEST_CONFIG)
    check_aliases(text)
    return OmegaConf.create(text.decode())


def check_aliases(text: bytes) -> None:
    """Raise ValueError if the aliases in a YAML document stand for too many values, or if it is nested too deeply."""
    open_brackets = 0
    for bracket in BRACKETS.findall(text):  # PyYAML takes time with the square of their depth
        open_brackets += 1 if bracket in b"[{" else -1
        if open_brackets > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} deep")
    if b"*" not in text or b"&" not in text:
        return
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise ValueError(f"is nested more than {DEEPEST} deep") from None
    except yaml.YAMLError:
        return  # whoever reads it tells what is wrong
    counts: dict[int, int] = {}

    def values(node: yaml.Node | None, above: tuple[int, ...] = ()) -> int:
        if id(node) in above:
            raise ValueError("an alias stands for what it is part of; write it out")
        if node is None or isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in counts:
            children = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
            counts[id(node)] = 1 + sum(values(child, (*above, id(node))) for child in children)
            if counts[id(node)] > MOST_VALUES:
                raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values; write them out")
        return counts[id(node)]

    values(root)
