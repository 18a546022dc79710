"""Command-line overrides: checks that need no configuration, and the jobs of a grid."""

import math
import shutil
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from src.config.settings import DATA_KEYS, KEYS, NON_IDENTITY_KEYS
from src.errors import UserError

MAX_RUNS = 10_000  # in a grid; each takes milliseconds to compose
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


def _is_name(value: object) -> bool:
    """Return True if a group's value is the name of a member, a dictionary of keys, or a glob of names."""
    if isinstance(value, str):
        return not (value.startswith(("/", ".")) or "/.." in value or value.endswith((".yaml", ".yml")))
    return isinstance(value, dict | Glob)


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job of a grid. Raises UserError for no jobs or too many, before expanding them."""
    check_overrides(overrides)
    last = {override.get_key_element(): override for override in overrides}
    runs, longest = 1, 0
    for override in last.values():
        n = _number_of_values(override)
        if n == 0:
            raise UserError(f"{override.input_line}: has no values, so there is nothing to train")
        runs *= n
        if n > longest:
            widest, longest = override.input_line, n
    if runs > MAX_RUNS:
        raise UserError(f"{widest}: makes {runs:,} runs; a sweep may have at most {MAX_RUNS:,}; give fewer values")
    (jobs,) = BasicSweeper.split_arguments(list(last.values()), None)
    return jobs


def _number_of_values(override: Override) -> int:
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        raise UserError(
            f"{override.input_line}: only a search takes an interval; add hydra/sweeper=optuna, or list the values"
        )
    if isinstance(value, RangeSweep):
        return length(override.input_line, value)
    return sum(1 for _ in override.sweep_iterator()) if override.is_sweep_override() else 1


def length(typed: str | None, sweep: RangeSweep) -> int:
    """Return the number of values in a range, computed without expanding a long one. Raises UserError if endless."""
    try:
        start, stop, step = (Decimal(number) for number in (sweep.start, sweep.stop, sweep.step))  # type: ignore[arg-type]
        n = max(0, math.ceil((stop - start) / step))
        # Hydra adds the step repeatedly, so rounding can give one value more.
        return n if n > MAX_RUNS else sum(1 for _ in sweep.range())
    except (ArithmeticError, ValueError):  # a step of 0, an infinite end, NaN
        raise UserError(f"{typed}: is not a range; write range(start,stop,step), finite and with step not 0") from None


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
