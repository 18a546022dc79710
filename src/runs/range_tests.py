"""Learning rate range tests on disk: `lr_range/<data>/<model>/<optimizer>-bs<batch size>-<digest>.json`."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from src.config.settings import ConfigChoices, Settings
from src.errors import one_line
from src.files import Damaged, read_file
from src.runs.record import OPEN, ChoicesEntry, Loss, Natural, Positive, SettingsEntry

LARGEST = 2**26  # bytes

FOLDER = "lr_range"
CONSTANT = {"_target_": "src.schedules.Schedule", "warmup": 0}

Rate = Annotated[FiniteFloat, Field(gt=0)]


@OPEN
class _Seed(TypedDict):
    seed: Natural
    losses: Annotated[list[Loss], Field(min_length=1)]
    begins: Rate | None
    steepest: Rate | None
    valley: Rate | None
    diverges: Rate | None
    seen: str


@OPEN
class _File(TypedDict):
    settings: SettingsEntry
    names: ChoicesEntry
    data_sha256: str
    first: Annotated[Rate, Field(alias="from")]
    to: Rate
    steps: Positive
    interval: Annotated[list[Rate], Field(min_length=2, max_length=2)]
    seen: str
    seeds: Annotated[list[_Seed], Field(min_length=1)]
    versions: NotRequired[dict[str, str]]
    commit: NotRequired[str | None]
    dirty: NotRequired[bool | None]
    machine: NotRequired[dict[str, Any]]


FILE: TypeAdapter[Any] = TypeAdapter(_File)


@dataclass(frozen=True)
class RangeTest:
    """A range test over several seeds. `settings` have lr 1, 1 epoch, seed 0 and a constant schedule.

    low, high: the interval of learning rates to try. valley: the geometric mean over seeds. diverges: the lowest over
    seeds. seen: what was seen instead of a fall or of divergence, else empty.
    """

    settings: Settings
    names: ConfigChoices
    data_sha256: str
    seeds: tuple[int, ...]
    low: float
    high: float
    valley: float | None
    diverges: float | None
    seen: str


def normalized(settings: Settings) -> Settings:
    """Return the settings that all runs of a range test share."""
    return replace(settings, lr=1.0, epochs=1, seed=0, schedule=CONSTANT)


def range_test_file(output: Path, settings: Settings, names: ConfigChoices) -> Path:
    """Return the file of a range test in an output directory; `settings` may be those of any of its runs."""
    name = f"{names.optimizer}-bs{settings.batch_size}-{normalized(settings).digest}.json"
    return output / FOLDER / settings.data / names.model / name


def read_range_tests(output: Path) -> tuple[list[RangeTest], dict[Path, str]]:
    """Return all range tests in an output directory, and the damaged files with the reason."""
    tests: list[RangeTest] = []
    damaged: dict[Path, str] = {}
    for file in sorted((output / FOLDER).glob("*/*/*.json")):
        found = _read(file)
        if isinstance(found, RangeTest):
            tests.append(found)
        elif found:
            damaged[file] = found
    return tests, damaged


def _read(file: Path) -> RangeTest | str | None:
    """Return a file's range test, or why it is damaged, or None if it was removed after the folder was listed."""
    try:
        return _test(read_file(file, largest=LARGEST), file.stem)
    except Damaged as error:
        return str(error)
    except RecursionError:
        return "nested too deeply"
    except FileNotFoundError:
        return None
    except OSError as error:
        return one_line(error)


def _test(content: bytes, name: str) -> RangeTest:
    """Return the range test in the content of a file of this name. Raises Damaged."""
    try:
        entry: dict[str, Any] = FILE.validate_python(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Damaged(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from None
    except ValueError as error:
        raise Damaged(f"not JSON ({error})") from None
    settings = Settings(**entry["settings"])
    seeds = tuple(each["seed"] for each in entry["seeds"])
    low, high = entry["interval"]
    if settings != normalized(settings):
        raise Damaged("settings: lr, epochs, seed or schedule are not those of a range test")
    if not name.endswith(f"-{settings.digest}"):
        raise Damaged(f"its settings are those of {settings.digest}, perhaps written by another version of Ravine")
    if not low < high or not entry["first"] < entry["to"]:
        raise Damaged("interval: its low end is not below its high end")
    if len(set(seeds)) < len(seeds) or any(len(each["losses"]) > entry["steps"] for each in entry["seeds"]):
        raise Damaged("seeds: a seed occurs twice, or has more losses than there are steps")
    valleys = [each["valley"] for each in entry["seeds"] if each["valley"] is not None]
    return RangeTest(
        settings,
        ConfigChoices(**entry["names"]),
        entry["data_sha256"],
        seeds,
        low,
        high,
        geometric_mean(valleys) if valleys else None,
        min((each["diverges"] for each in entry["seeds"] if each["diverges"] is not None), default=None),
        entry["seen"],
    )
