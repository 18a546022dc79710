"""The settings of a run: checked, and the source of its name."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.errors import UserError, no_such_key

RECIPE = 4  # raised when the same settings begin to give other numbers: then they are another run

KEYS = {"lr", "batch_size", "epochs", "seed", "data", "model", "optimizer", "schedule"}
DATA_KEYS = {"name", "validation", "classes"}
SWITCHES = {"force", "fail_fast", "dry_run"}
KEYS_OF_NO_CONSEQUENCE = {"data_root", "output_dir", "device", "threads"} | SWITCHES


@dataclass(frozen=True)
class Settings:
    """All that can change a run's numbers, and nothing else. Equal settings are the same run."""

    data: str
    validation: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    lr: float
    batch_size: int
    epochs: int
    seed: int

    @property
    def digest(self) -> str:
        """8 hexadecimal digits of the SHA-256 of the settings, in which 1 and 1.0 are the same number."""
        numbers_alike = json.loads(json.dumps(asdict(self) | {"recipe": RECIPE}), parse_int=float)
        return hashlib.sha256(json.dumps(numbers_alike, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def flat(self) -> dict[str, Any]:
        """Every setting by its key on the command line: `lr`, `model.hidden`."""
        flat: dict[str, Any] = {}
        for key, value in asdict(self).items():
            flat |= {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value}
        return flat


@dataclass(frozen=True)
class Names:
    """What the config groups call the chosen model, optimizer and schedule."""

    model: str
    optimizer: str
    schedule: str


def title(settings: Settings, names: Names) -> str:
    """A run's name for a person; the rest of its settings are in its record."""
    swept = f"lr {settings.lr:g} batch {settings.batch_size} seed {settings.seed}"
    schedule = "" if names.schedule == "constant" else f" {names.schedule}"
    return f"{settings.data} {names.model} {names.optimizer}{schedule} {swept}"


def directory(settings: Settings, names: Names) -> Path:
    """Where a run lies under the output directory: `<data>/<model>/<optimizer>-bs64-lr0.0005-seed0-<digest>`."""
    run = f"{names.optimizer}-bs{settings.batch_size}-lr{settings.lr:g}-seed{settings.seed}-{settings.digest}"
    return Path(settings.data, names.model, run)


def _integer(cfg: DictConfig, key: str, least: int, example: str) -> int:
    value = OmegaConf.select(cfg, key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise UserError(f"{key}={value}: must be a whole number, {least} or more; try {example}")
    return value


def check(cfg: DictConfig) -> Settings:
    """The settings in `cfg`; `data` is still as asked for, so possibly `auto`. Raises UserError."""
    keys = KEYS | KEYS_OF_NO_CONSEQUENCE
    unknown = {str(key) for key in set(cfg) - keys} | {f"data.{key}" for key in set(cfg.data) - DATA_KEYS}
    if unknown:
        raise UserError(no_such_key(", ".join(sorted(unknown)), keys))
    if OmegaConf.is_missing(cfg, "lr"):
        raise UserError("lr: is missing; give one, or put one into the optimizer's file in conf/optimizer/")
    lr = cfg.lr
    if not isinstance(lr, int | float) or isinstance(lr, bool) or not (math.isfinite(lr) and lr > 0):
        raise UserError(f"lr={lr}: must be a finite number above 0; try lr=0.05")
    _integer(cfg, "threads", 1, "threads=1")
    if cfg.device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={cfg.device}: must be one of: auto, cpu, cuda")
    for switch in SWITCHES:
        if not isinstance(cfg[switch], bool):
            raise UserError(f"{switch}={cfg[switch]}: must be true or false")
    groups: dict[str, Any] = {}
    for group in ("model", "optimizer", "schedule"):
        groups[group] = OmegaConf.to_container(cfg[group], resolve=True, throw_on_missing=True)
    return Settings(
        data=cfg.data.name,
        validation=_integer(cfg, "data.validation", 0, "data.validation=5000"),
        lr=float(lr),
        batch_size=_integer(cfg, "batch_size", 1, "batch_size=64"),
        epochs=_integer(cfg, "epochs", 1, "epochs=20"),
        seed=_integer(cfg, "seed", 0, "seed=0"),
        **groups,
    )
