"""Schemas and checks of `run.json` and `metrics.csv`."""

import csv
import io
import json
import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError, with_config
from typing_extensions import NotRequired, TypedDict

from src.config.settings import RECIPE, Augment, Normalize, Settings
from src.errors import visible
from src.files import Damaged

Row = dict[str, float]  # one epoch of a curve
Split = Literal["train", "validation", "test"]
Ended = Literal["finished", "diverged"]
Status = Literal["running", "finished", "diverged", "failed", "interrupted"]
ENDED: tuple[Ended, ...] = ("finished", "diverged")
PROBED = (  # columns of runs with `probe`, which may be infinite or unknown
    "critical_lr", "gradient_noise", "gradient_squared", "noise_scale", "probe_seconds", "probed_lr", "sharpness",
    "stability_limit",
)  # fmt: skip
REQUIRED_METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")  # of every epoch

Natural = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Seconds = Annotated[FiniteFloat, Field(ge=0)]
Loss = FiniteFloat | None  # None: not finite


CLOSED = with_config(ConfigDict(extra="forbid", strict=True))
OPEN = with_config(ConfigDict(extra="allow", strict=True))  # another version may add keys


@CLOSED
class SettingsEntry(TypedDict):
    """The `Settings` of a run in JSON."""

    data: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    validation: Natural
    normalize: Normalize
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    lr: Annotated[FiniteFloat, Field(gt=0)]
    batch_size: Positive
    epochs: Positive
    seed: Natural
    augment: NotRequired[Augment]
    test_share: NotRequired[Share]
    source: NotRequired[dict[str, Any]]


@CLOSED
class ChoicesEntry(TypedDict):
    """The `ConfigChoices` of a run in JSON."""

    model: str
    optimizer: str
    schedule: str


@OPEN
class _Data(TypedDict):
    name: str
    train: Positive
    validation: NotRequired[Natural]
    test: Positive
    sha256: str
    mean: NotRequired[FiniteFloat | list[FiniteFloat]]
    std: NotRequired[FiniteFloat | list[FiniteFloat]]
    shape: NotRequired[Annotated[list[Positive], Field(min_length=3, max_length=3)]]
    classes: NotRequired[Annotated[list[str], Field(min_length=2)]]
    brightness: NotRequired[dict[Literal["whole", "border"], Share]]
    largest_class: NotRequired[dict[Split, Share]]  # its share of each split's images


@OPEN
class _Session(TypedDict):
    began: str
    device: NotRequired[str]
    kernels: NotRequired[str]
    threads: NotRequired[Positive]
    group_size: NotRequired[Positive]
    probe: NotRequired[bool | Literal["sharpness"]]
    versions: NotRequired[dict[str, str]]
    commit: NotRequired[str | None]
    dirty: NotRequired[bool | None]
    code: NotRequired[str | None]  # digest of the network's, optimizer's and schedule's code if it is the user's own
    machine: NotRequired[dict[str, Any]]


@OPEN
class _Figures(TypedDict):
    train_loss: Loss
    train_accuracy: Share
    validation_loss: NotRequired[Loss]
    validation_accuracy: NotRequired[Share]
    test_loss: Loss
    test_accuracy: Share
    initial_loss: Loss
    final_loss: NotRequired[Loss]
    epochs: Positive
    updates: Positive
    gradients: NotRequired[Positive]  # that the updates took; SAM takes two an update
    training_seconds: Seconds
    evaluation_seconds: NotRequired[Seconds]


@OPEN
class _Begun(TypedDict):
    status: Literal["running", "failed", "interrupted"]
    names: ChoicesEntry
    settings: SettingsEntry
    data: NotRequired[_Data]
    sessions: NotRequired[list[_Session]]
    error: NotRequired[str]


@OPEN
class _Ended(TypedDict):
    status: Ended
    names: ChoicesEntry
    settings: SettingsEntry
    data: _Data
    sessions: Annotated[list[_Session], Field(min_length=1)]
    figures: _Figures
    slow: NotRequired[str]  # why the native code did not train it; empty if it did


RECORD: TypeAdapter[Any] = TypeAdapter(Annotated[_Begun | _Ended, Field(discriminator="status")])


class OtherRecipe(Damaged):
    """The record is intact, but of a run that this version of Ravine does not train."""


def _is_of_other_recipe(parsed: Any) -> bool:
    if not isinstance(parsed, dict) or not isinstance(settings := parsed.get("settings"), dict):
        return False
    # Records name their recipe since recipe 5, and settings have `normalize` since then.
    return parsed.get("recipe", RECIPE) != RECIPE or ("normalize" not in settings and {"data", "lr"} <= settings.keys())


def _visible(value: Any) -> Any:
    """Return a value of JSON in which no text can steer a terminal."""
    if isinstance(value, dict):
        return {visible(key): _visible(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_visible(each) for each in value]
    return visible(value) if isinstance(value, str) else value


def parse_record(content: bytes, digest: str) -> dict[str, Any]:
    """Return the record in the content of a `run.json`. Raises Damaged, also if its settings have another digest."""
    try:
        # Not parsed by pydantic: the command line may contain a path that is not UTF-8.
        parsed = json.loads(content)
        if _is_of_other_recipe(parsed):
            raise OtherRecipe("written by a version of Ravine with another recipe")
        if isinstance(parsed, dict):  # settings are hashed as they are, and their text is escaped where it is printed
            parsed = {key: each if key in ("settings", "traceback") else _visible(each) for key, each in parsed.items()}
        record: dict[str, Any] = RECORD.validate_python(parsed)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"][1:]))
        raise Damaged(f"{key}: {first['msg']}" if key else first["msg"]) from None
    except Damaged:
        raise
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON ({error})") from None
    settings = Settings(**record["settings"])
    try:
        found = settings.digest
    except RecursionError:
        raise Damaged("settings: nested too deeply") from None
    if found != digest:
        raise Damaged(f"its settings are those of run {found}, perhaps written by another version of Ravine")
    if record["status"] in ENDED:
        epochs = record["figures"]["epochs"]
        if epochs > settings.epochs or (record["status"] == "finished" and epochs < settings.epochs):
            raise Damaged(f"figures.epochs: {epochs}, but {settings.epochs} in the settings")
        if settings.validation and not {"validation_loss", "validation_accuracy"} <= record["figures"].keys():
            raise Damaged(f"figures: no validation loss or accuracy, but {settings.validation} images are held out")
    return record


def parse_curve(content: bytes) -> list[Row]:
    """Return the epochs in the content of a `metrics.csv`. Raises Damaged."""
    try:
        lines = csv.DictReader(io.StringIO(content.decode()))
        rows = [{key: float(value) for key, value in line.items()} for line in lines]
    except (ValueError, TypeError, csv.Error) as error:  # invalid UTF-8 is a ValueError too
        raise Damaged(str(error)) from None
    if not rows:
        raise Damaged("has no epochs")
    return checked_curve(rows)


def checked_curve(rows: Any) -> list[Row]:
    """Return the rows if they are epochs from 1 on without a gap, each with its figures. Raises Damaged."""
    if not isinstance(rows, list):
        raise Damaged("its curve is not a list of epochs")
    for epoch, row in enumerate(rows, 1):
        if not isinstance(row, dict) or row.get("epoch") != epoch:
            raise Damaged(f"epoch {epoch} is missing")
        for key in map(str, (*REQUIRED_METRICS, "updates", "seconds", *row)):
            value = row.get(key)
            # A group of parameters may be added, and a probe switched on, in a later epoch.
            may_be_infinite = key.endswith("_loss") or key in PROBED or key.startswith("lr_group")
            number = isinstance(value, int | float) and (may_be_infinite or math.isfinite(value))
            if not number or (key.endswith("_accuracy") and not 0 <= row[key] <= 1):
                raise Damaged(f"epoch {epoch}: {key}={value}")
    return rows


def check_agreement(record: dict[str, Any], rows: list[Row]) -> None:
    """Raise Damaged if the final figures of an ended run are not those of its last epoch."""
    if record.get("status") in ENDED:
        figures = record["figures"]
        if len(rows) != figures["epochs"]:
            raise Damaged(f"has {len(rows)} epochs, but run.json says {figures['epochs']}")
        scores = [key for key in rows[-1] if key.endswith(("_loss", "_accuracy"))]
        for key in scores:
            value = rows[-1][key]
            if (value if math.isfinite(value) else None) != figures.get(key):
                raise Damaged(f"{key}={value} in the last epoch, but {figures.get(key)} in run.json")


def number_of_classes(record: dict[str, Any]) -> int:
    """Return the number of classes; earlier versions, which did not record it, had data of ten."""
    return len(record.get("data", {}).get("classes", range(10)))


def guessing(record: dict[str, Any], split: Split) -> float:
    """Return the accuracy of guessing on a split, as which a diverged run counts.

    It is 1 / classes, or the share of the largest class where that is larger. Earlier records do not hold that share.
    """
    return max(1 / number_of_classes(record), record.get("data", {}).get("largest_class", {}).get(split, 0.0))


def lacks_probe(record: dict[str, Any], probe: bool | str) -> bool:
    """Return True if a run was asked to be trained with `probe`, and was trained, at least in part, without it."""
    enough = ("sharpness",) if probe == "sharpness" else (True, "sharpness")
    return bool(probe) and any(session.get("probe") not in enough for session in record.get("sessions", []))


def chance(classes: int) -> float:
    """Return the accuracy up to which a run counts as guessing one of so many classes: 0.15 for ten."""
    return min(1.5 / classes, 1 / classes + 0.05)


def finite(row: Row) -> bool:
    """Return True if all losses of an epoch are finite."""
    return all(math.isfinite(value) for key, value in row.items() if key.endswith("_loss"))
