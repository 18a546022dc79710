"""From a composed configuration to a run: settings, names, data set and directory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.settings import ConfigChoices, Settings, check, class_names, directory, plain
from src.data import datasets
from src.data.images import Images
from src.data.own import load_own


@dataclass(frozen=True)
class Resolved:
    """A run before its data are loaded or its model is built."""

    settings: Settings
    names: ConfigChoices
    directory: Path  # of the run
    data_root: str
    source: dict[str, Any]  # class and arguments of data of the user's own, else empty
    classes: list[str] | None  # if not those of the data

    def load(self) -> Images:
        """Return the images of the data set, downloaded if missing. Raises UserError, also if there are too few."""
        if self.source:
            images = load_own(self.settings.data, self.source, self.settings.test_share, self.data_root)
        else:
            images = datasets.load(datasets.choose(self.settings.data, self.data_root), self.data_root)
        images = images.named(self.classes)
        images.check_sizes(self.settings.validation, self.settings.batch_size)
        return images


def resolve(cfg: DictConfig, choices: Mapping[str, str]) -> Resolved:
    """Return the run that a configuration describes; `choices` maps groups to chosen members.

    `data=auto` is replaced by the data set available here. Raises UserError.
    """
    values = plain(cfg)
    settings, data_root = check(values, choices["data"]), str(values["data_root"])
    if settings.data == "auto":
        settings = replace(settings, data=datasets.choose("auto", data_root))
    names = ConfigChoices(choices["model"], choices["optimizer"], _schedule_name(choices["schedule"], settings))
    path, data = Path(values["output_dir"]) / directory(settings, names), values["data"]
    source = settings.source | ({"path": data["path"]} if settings.source and "path" in data else {})
    return Resolved(settings, names, path, data_root, source, class_names(data["classes"]))


def _schedule_name(choice: str, settings: Settings) -> str:
    """Return the name of a schedule, which is that of its class if `schedule._target_=` has replaced that of a file."""
    target = str(settings.schedule.get("_target_"))
    return target.rpartition(".")[2] if choice == "constant" and target != "src.schedules.Schedule" else choice


def without_hydra(config: DictConfig) -> DictConfig:
    """Return the configuration without Hydra's own node."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
