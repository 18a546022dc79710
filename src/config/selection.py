"""The runs that a command line would train."""

from dataclasses import dataclass
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from src.config.combinations import combinations
from src.config.conf_files import check_conf
from src.config.loader import Composer
from src.config.overrides import check_overrides, for_each_member
from src.config.resolve import Resolved, resolve
from src.config.settings import CONF, ConfigChoices, Settings


@dataclass(frozen=True)
class Selection:
    """Selected runs, in the order of training, and what they share: output directory, device and torch's threads.

    `overrides` are those of each run alone.
    """

    resolved: list[Resolved]
    overrides: list[list[str]]
    output: Path
    device: str
    threads: int
    asks_for_seeds: bool

    @property
    def runs(self) -> list[tuple[Settings, ConfigChoices]]:
        """Settings and names of each run."""
        return [(each.settings, each.names) for each in self.resolved]


def select(overrides: list[str]) -> Selection:
    """Return the runs that `python -m src.train` would train with these arguments. Raises the same errors."""
    check_conf([Path(CONF)])
    with initialize_config_dir(CONF, version_base="1.3"):
        hydras = GlobalHydra.instance().config_loader()
        loader = Composer(hydras)
        typed = OverridesParser.create(config_loader=hydras).parse_overrides(overrides)
        check_overrides(typed)
        overrides = for_each_member(typed)
        typed = OverridesParser.create(config_loader=hydras).parse_overrides(overrides)
        master = loader.load_configuration("config", overrides, run_mode=RunMode.MULTIRUN)
        swept = [f"{key}={value}" for key, value in (master.hydra.sweeper.get("params") or {}).items()]
        parsed = [*OverridesParser.create(config_loader=hydras).parse_overrides(swept), *typed]
        resolved, jobs = [], combinations(parsed, master.together)
        for job in jobs:
            config = loader.load_sweep_config(master, job)
            resolved.append(resolve(config, config.hydra.runtime.choices))
        asked = any(override.key_or_group == "seed" for override in parsed)
        return Selection(resolved, jobs, Path(str(config.output_dir)), config.device, config.threads, asked)
