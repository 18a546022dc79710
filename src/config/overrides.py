"""Command-line overrides: checks that need no configuration, and the jobs of a grid."""

import itertools
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, ListConfig, OmegaConf

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


def _is_name(value: object) -> bool:
    """Return True if a group's value is the name of a member, a dictionary of keys, or a glob of names."""
    if isinstance(value, str):
        return not (value.startswith(("/", ".")) or "/.." in value or value.endswith((".yaml", ".yml")))
    return isinstance(value, dict | Glob)


def combinations(overrides: Sequence[Override], together: Any = None) -> list[list[str]]:
    """Return the overrides of each job of a grid. Raises UserError for no jobs or too many, before expanding them.

    `together` lists keys whose values are taken in step, the first with the first; or it is a list of such lists.
    """
    check_overrides(overrides)
    last = {override.get_key_element(): override for override in overrides}
    numbers = {key: _number_of_values(override) for key, override in last.items()}
    for key, number in numbers.items():
        if number == 0:
            raise UserError(f"{last[key].input_line}: has no values, so there is nothing to train")
    sets = _in_step(together, numbers)
    runs = math.prod(numbers[keys[0]] for keys in sets)
    if runs > MAX_RUNS:
        widest = last[max(numbers, key=lambda key: numbers[key])].input_line
        raise UserError(f"{widest}: makes {runs:,} runs; a sweep may have at most {MAX_RUNS:,}; give fewer values")
    parts = []
    for keys in sets:
        values = [BasicSweeper.split_arguments([last[key]], None)[0] for key in keys]
        parts.append([[text for (text,) in each] for each in zip(*values, strict=True)])
    return [[text for part in job for text in part] for job in itertools.product(*parts)]


def _in_step(together: Any, numbers: Mapping[str, int]) -> list[list[str]]:
    """Return the keys in sets whose values are taken in step, each set at the place of its first key.

    numbers: of values, by key. Raises UserError.
    """
    wanted: Any = OmegaConf.to_container(together) if isinstance(together, ListConfig) else together
    lists = [] if wanted is None else wanted if _is_list_of(list, wanted) else [wanted]
    typed = {key.lstrip("+"): key for key in numbers}
    set_of = {key: [key] for key in numbers}
    for names in lists:
        said = f"together=[{','.join(map(str, names))}]" if isinstance(names, list) else f"together={names}"
        if not _is_list_of(str, names) or len(set(names)) < max(2, len(names)):
            raise UserError(f"{said}: must be a list of two settings or more, such as [optimizer,lr]")
        keys = [typed.get(name.lstrip("+"), name) for name in names]
        for key in keys:
            if numbers.get(key, 1) == 1:
                raise UserError(f"{said}: {key} has one value; give several, as {key}=VALUE,VALUE, with -m")
            if len(set_of.get(key, ())) != 1:
                raise UserError(f"{said}: {key} is in another list, too; name it once")
        if len({numbers[key] for key in keys}) > 1:
            raise UserError(
                f"{said}: {', '.join(f'{key} has {numbers[key]}' for key in keys)} values; give equally many"
            )
        set_of |= dict.fromkeys(keys, keys)
    return [keys for key, keys in set_of.items() if key == min(keys, key=list(numbers).index)]


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, kind) for each in value)


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
