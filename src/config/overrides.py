"""Checks of command-line overrides that need no configuration."""

import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Glob, Override
from omegaconf import DictConfig

from src.config.settings import DATA_KEYS, KEYS, NON_IDENTITY_KEYS
from src.errors import UserError

GROUPS = {"data", "model", "optimizer", "schedule", "study"}
FIXED = NON_IDENTITY_KEYS | {"study", "data.classes", "data.path"}  # a sweep cannot vary these
REQUIRED = KEYS | NON_IDENTITY_KEYS | {f"data.{key}" for key in DATA_KEYS}


def check_overrides(overrides: Iterable[Override]) -> None:
    """Raise UserError for an override that Hydra would reject without help, or misinterpret."""
    for override in overrides:
        key, typed = override.key_or_group, override.input_line
        if not key:
            raise UserError(f"{typed}: is not a setting; write key=value")
        if override.is_add() and key in KEYS | NON_IDENTITY_KEYS and not isinstance(override.value(), dict | list):
            raise UserError(f"{typed}: {key} already exists; leave out the +")
        if override.is_delete():
            if key in REQUIRED:
                raise UserError(f"{typed}: {key} cannot be removed; leave this out, or set another value with {key}=")
        elif key == "together" and override.is_sweep_override():
            raise UserError(f"{typed}: needs brackets; write '{key}=[{override.get_value_string()}]'")
        elif override.is_sweep_override() and (key in FIXED or override.is_hydra_override()):
            raise UserError(f"{typed}: a sweep cannot vary {key}; give it one value (quoted, if it has a comma)")
        elif key == "study" and not (override.is_add() or override.is_force_add()):
            raise UserError(f"{typed}: a study is added to the configuration; write +{typed}")
        elif key in GROUPS or key == "hydra" or key.startswith("hydra/"):
            value: Any = override.value()
            if key == "hydra/sweeper" and value == "basic":
                raise UserError(f"{typed}: does not check its runs before it starts them; leave it out")
            for name in value.list if isinstance(value, ChoiceSweep) else [value]:
                if not _is_name(Override._convert_value(name)):
                    raise UserError(f"{typed}: must be a name without folder or .yaml; --help lists the names")


def for_each_member(overrides: Sequence[Override]) -> list[str]:
    """Return the overrides as typed, but with a setting of a swept group as a sweep of one value.

    Hydra would set the others on the group's default member, which need not have the setting.
    """
    swept = {override.key_or_group for override in overrides if override.is_sweep_override()} & GROUPS
    return [
        f"{override.get_key_element()}=choice({override.get_value_string()})"
        if override.key_or_group.partition(".")[0] in swept
        and "." in override.key_or_group
        and not (override.is_sweep_override() or override.is_delete())
        else str(override.input_line)
        for override in overrides
    ]


def _is_name(value: object) -> bool:
    """Return True if a group's value is the name of a member, a dictionary of keys, or a glob of names."""
    if isinstance(value, str):
        return not (value.startswith(("/", ".")) or "/.." in value or value.endswith((".yaml", ".yml")))
    return isinstance(value, dict | Glob)


def check_launcher(config: DictConfig) -> None:
    """Raise UserError for a Slurm launcher without Slurm, or a launcher that would leave files behind."""
    choice = config.hydra.runtime.choices.get("hydra/launcher")
    if choice == "submitit_local":
        raise UserError(
            "hydra/launcher=submitit_local: leaves a folder named %j here; write hydra/launcher=slurm_local"
        )
    if str(config.hydra.launcher._target_).endswith(".SlurmLauncher") and not shutil.which("sbatch"):
        raise UserError(
            f"hydra/launcher={choice}: there is no sbatch here; run this on a login node of the cluster, or leave out "
            "hydra/launcher= to train on this machine"
        )
