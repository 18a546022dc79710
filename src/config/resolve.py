"""From a composed configuration to a run: settings, names, data set and directory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.config.settings import ConfigChoices, Settings, check, directory
from src.data import datasets
from src.data.datasets import Images


@dataclass(frozen=True)
class Resolved:
    """A run before its data are loaded or its model is built."""

    settings: Settings
    names: ConfigChoices
    directory: Path  # of the run
    data_root: str

    def load(self) -> Images:
        """Return the images of the data set, downloaded if missing. Raises UserError, also if there are too few."""
        name = datasets.choose(self.settings.data, self.data_root)
        images = datasets.load(name, self.data_root)
        images.check_sizes(self.settings.validation, self.settings.batch_size)
        return images


def resolve(cfg: DictConfig, choices: Mapping[str, str]) -> Resolved:
    """Return the run that a configuration without Hydra's own node describes; `choices` maps groups to chosen members.

    `data=auto` is replaced by the data set available here. Raises UserError.
    """
    settings, data_root = check(cfg), str(cfg.data_root)
    if settings.data == "auto":
        settings = replace(settings, data=datasets.choose("auto", data_root))
    names = ConfigChoices(choices["model"], choices["optimizer"], choices["schedule"])
    return Resolved(settings, names, Path(cfg.output_dir) / directory(settings, names), data_root)


def without_hydra(config: DictConfig) -> DictConfig:
    """Return the configuration without Hydra's own node."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
