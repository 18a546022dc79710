"""The jobs of a grid: combinations of the values of overrides."""

import itertools
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import ListConfig, OmegaConf

from src.config.overrides import check_overrides
from src.errors import UserError

MAX_RUNS = 10_000  # in a grid; each takes milliseconds to compose


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
            raise UserError(f"{said}: must be a list of two settings or more, each once, such as [optimizer,lr]")
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
