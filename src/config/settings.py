"""The settings of a run: their checks, and the name and directory that follow from them."""

import hashlib
import json
import math
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from omegaconf import MISSING, DictConfig, OmegaConf

from src.data import datasets
from src.errors import UserError
from src.hints import no_such_key

CONF = str(Path(__file__).parents[2] / "conf")
RECIPE = 7  # increase it when the same settings give other numbers: they become another run

KEYS = {"lr", "batch_size", "epochs", "seed", "data", "model", "optimizer", "schedule"}
DATA_KEYS = {"name", "validation", "test", "normalize", "augment", "classes"}
Normalize = Literal["half", "standard", "center", "none"]
Augment = Literal["none", "flip", "shift", "flip_shift"]
SWITCHES = {"force", "fail_fast", "dry_run"}
NON_IDENTITY_KEYS = {"data_root", "output_dir", "device", "threads", "probe", "together"} | SWITCHES
RESERVED = ("lr_range", "optuna", "reports")  # folders beside those of the data sets
Probe = bool | Literal["sharpness"]


@dataclass(frozen=True)
class Settings:
    """Everything that can change a run's numbers, and nothing else. Equal settings are the same run.

    The images themselves are not part of it; a run records their hash.
    """

    data: str
    validation: int
    normalize: Normalize
    model: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    lr: float
    batch_size: int
    epochs: int
    seed: int
    augment: Augment = "none"
    test_share: float = 0.0  # share of the images that become the test set, if the data have none
    source: dict[str, Any] = field(default_factory=dict)  # class and arguments of data of the user's own, without path

    @property
    def digest(self) -> str:
        """8 hexadecimal digits of the SHA-256 of the settings, with 1 and 1.0 as the same number.

        Settings added after the recipe are left out at their defaults, so that the same run keeps its digest.
        """
        added = {"augment": "none", "test_share": 0.0, "source": {}}
        hashed = {key: value for key, value in asdict(self).items() if key not in added or value != added[key]}
        numbers_alike = json.loads(json.dumps(hashed | {"recipe": RECIPE}), parse_int=float)
        return hashlib.sha256(json.dumps(numbers_alike, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def flat(self) -> dict[str, Any]:
        """Every setting by its key on the command line: `lr`, `model.hidden`."""
        flat: dict[str, Any] = {}
        for key, value in asdict(self).items():
            if key == "source":
                value = {name: each for name, each in value.items() if each is not None}
            flat |= {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value}
        return flat


@dataclass(frozen=True)
class ConfigChoices:
    """Names of the chosen model, optimizer and schedule in their config groups."""

    model: str
    optimizer: str
    schedule: str


def display_name(settings: Settings, names: ConfigChoices) -> str:
    """Return a run's name for display; the rest of its settings are in its record."""
    swept = f"lr {settings.lr:g} batch {settings.batch_size} seed {settings.seed}"
    schedule = "" if names.schedule == "constant" else f" {names.schedule}"
    return f"{settings.data} {names.model} {names.optimizer}{schedule} {swept}"


def optimizer_order(name: str) -> tuple[int, str]:
    """Return the sort key of an optimizer: the assignment's three first, in its order, then by name."""
    known = ["sgd", "adagrad", "adam"]
    first = name.split()[0]
    return (known.index(first) if first in known else len(known), name)


def directory(settings: Settings, names: ConfigChoices) -> Path:
    """Return a run's directory in the output directory: `<data>/<model>/<optimizer>-bs64-lr0.0005-seed0-<digest>`."""
    run = f"{names.optimizer}-bs{settings.batch_size}-lr{settings.lr:g}-seed{settings.seed}-{settings.digest}"
    return Path(settings.data, names.model, run)


def check_whole(key: str, value: Any, least: int, example: str) -> int:
    """Return the value of `key` if it is a whole number, `least` or more. Raises UserError."""
    if value == MISSING:
        raise UserError(f"{key}: is missing; set {key}=, such as {example}")
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise UserError(f"{key}={value}: must be a whole number, {least} or more; try {example}")
    return value


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the configuration in plain values, without Hydra's own node, with `MISSING` where a value is missing."""
    found: dict[str, Any] = {}
    for key in map(str, config):
        if key != "hydra":
            value = MISSING if OmegaConf.is_missing(config, key) else config[key]
            found[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return found


def check_machine(cfg: dict[str, Any]) -> None:
    """Check the keys that all runs of a sweep share, in plain values. Raises UserError."""
    if unknown := set(cfg) - KEYS - NON_IDENTITY_KEYS:
        raise UserError(no_such_key(min(map(str, unknown)), cfg))
    for key, example in (("data_root", "data"), ("output_dir", "outputs")):
        value = cfg[key]
        if not isinstance(value, str) or not value.strip():
            number = isinstance(value, int | float)
            way = f"""write '{key}="{value}"' for a number""" if number else f"try {key}={example}"
            raise UserError(f"{key}={'' if value is None else value}: must name a folder; {way}")
        if value.startswith("~"):
            raise UserError(f'{key}={value}: ~ is not expanded here; write {key}="$HOME{value[1:]}"')
    check_whole("threads", cfg["threads"], 1, "threads=1")
    if cfg["device"] not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={cfg['device']}: must be one of: auto, cpu, cuda")
    if not (isinstance(cfg["probe"], bool) or cfg["probe"] == "sharpness"):
        raise UserError(f"probe={cfg['probe']}: must be one of: false, true, sharpness")
    for switch in sorted(SWITCHES):
        if not isinstance(cfg[switch], bool):
            raise UserError(f"{switch}={cfg[switch]}: must be true or false")


def check_cores(threads: int) -> None:
    """Raise UserError for more threads than cores available on this machine."""
    from joblib import cpu_count  # takes 0.1 s to import

    if threads > (cores := int(cpu_count())):
        raise UserError(f"threads={threads}: must not be above {cores}, the cores available here")


def _check_values(key: str, value: Any) -> None:
    """Raise UserError for a setting that is not a plain value, or a number that is not finite or too large."""
    if isinstance(value, dict):
        for name, each in value.items():
            if not isinstance(name, str):
                raise UserError(f"{key}.{name}: is not a valid key; keys must be text")
            _check_values(f"{key}.{name}", each)
    elif isinstance(value, list):
        for each in value:
            _check_values(key, each)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{key}={value}: must be a finite number")
    elif isinstance(value, int):
        if abs(value) >= 2**63:
            raise UserError(f"{key}={value}: must be a number below 2^63")
    elif value == MISSING:
        raise UserError(f"{key}: is missing; set {key}=")
    elif not (value is None or isinstance(value, str)):
        raise UserError(f"{key}={value}: must be a number, text, true, false, null, or a list or dictionary of these")


def class_names(classes: Any) -> list[str] | None:
    """Return the names in `data.classes`; None if the data name their classes. Raises UserError."""
    if classes is None:
        return None
    names = classes if isinstance(classes, list) else []
    if not names or not all(isinstance(name, str | int | float) and not isinstance(name, bool) for name in names):
        raise UserError(f"data.classes={classes}: must be a list with a name for each class, such as [cat,dog]")
    return [str(name) for name in names]


def _check_data(cfg: dict[str, Any]) -> None:
    """Raise UserError for wrong keys and values that all data sets have."""
    data = cfg["data"]
    for key in sorted(DATA_KEYS):
        if key not in data:
            raise UserError(
                f"data.{key}: is missing; the data set's file in conf/data/ must begin with: defaults: [auto]"
            )
    share = data["test"]
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share < 1:
        raise UserError(f"data.test={share}: must be a share of the images, 0 or more and below 1; try data.test=0.2")
    if "_target_" in data:
        for key in data:
            if data[key] == MISSING:
                raise UserError(f"data.{key}: is missing; set data.{key}=")
        if not isinstance(path := data.get("path", ""), str):
            raise UserError(
                f"data.path={path}: must name a file or folder; a number needs quotes: 'data.path=\"{path}\"'"
            )
    elif unknown := set(map(str, data)) - DATA_KEYS:
        raise UserError(no_such_key(f"data.{min(unknown)}", cfg))
    elif data["name"] not in datasets.NAMES:
        raise UserError(f"data.name={data['name']}: must be one of: {', '.join(datasets.NAMES)}")
    elif share != 0:
        raise UserError(f"data.test={share}: is only for data of your own that have no test set; leave it out")
    for key, kind in (("normalize", Normalize), ("augment", Augment)):
        if data[key] not in get_args(kind):
            raise UserError(f"data.{key}={data[key]}: must be one of: {', '.join(get_args(kind))}")
    class_names(data["classes"])


def _own_name(data: dict[str, Any], choice: str) -> str:
    """Return the name of a data set of the user's own: `data.name`, the last part of its path, or its file in conf/."""
    name = data["name"]
    if name in (None, "auto"):
        path = data.get("path")
        name = Path(path).stem if isinstance(path, str) and Path(path).stem else choice
    if not isinstance(name, str) or not re.fullmatch(r"[\w][\w.-]*", name):
        raise UserError(f"data.name={name}: must be letters, digits, _, - and . only; try data.name=mine")
    if name in RESERVED:
        raise UserError(f"data.name={name}: is the name of another folder in output_dir; try data.name=my_{name}")
    if name in datasets.NAMES:
        raise UserError(f"data.name={name}: is the name of another data set; try data.name=my_{name}")
    return name


def check(cfg: dict[str, Any], data_choice: str) -> Settings:
    """Return the settings in plain values, with `data` as given, possibly `auto`. Raises UserError.

    `data_choice` is the chosen file in conf/data/.
    """
    check_machine(cfg)
    _check_data(cfg)
    data = cfg["data"]
    source: dict[str, Any] = {}
    if "_target_" in data:
        _check_values("data", data)
        source = {str(key): value for key, value in data.items() if key not in DATA_KEYS | {"path"}}
    lr = cfg["lr"]
    if lr == MISSING:
        where = "the optimizer's file in conf/optimizer/, whose first line must be # @package _global_"
        raise UserError(f"lr: is missing; set lr=, or a default in {where}")
    if not isinstance(lr, int | float) or isinstance(lr, bool) or not 0 < lr <= sys.float_info.max:
        raise UserError(f"lr={lr}: must be a finite number above 0; try lr=0.05")
    for group in ("model", "optimizer", "schedule"):
        _check_values(group, cfg[group])
    return Settings(
        data=_own_name(data, data_choice) if source else data["name"],
        validation=check_whole("data.validation", data["validation"], 0, "data.validation=5000"),
        normalize=data["normalize"],
        model=cfg["model"],
        optimizer=cfg["optimizer"],
        schedule=cfg["schedule"],
        lr=float(lr),
        batch_size=check_whole("batch_size", cfg["batch_size"], 1, "batch_size=64"),
        epochs=check_whole("epochs", cfg["epochs"], 1, "epochs=20"),
        seed=check_whole("seed", cfg["seed"], 0, "seed=0"),
        augment=data["augment"],
        test_share=float(data["test"]),
        source=source,
    )
