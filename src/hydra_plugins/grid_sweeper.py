"""`hydra/sweeper=grid`: every combination of the overrides with several values, like Hydra's basic sweeper.

Unlike that sweeper, it rejects endless ranges and settings that would be ignored, and writes no multirun.yaml.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


class GridSweeper(BasicSweeper):
    """Gives jobs to the launcher, `max_batch_size` at a time. Raises the errors of Hydra's sweeper, and UserError."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from src.config.overrides import check_launcher

        check_launcher(config)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run all jobs; after each batch, raise the error of its first failed job."""
        from src.config.combinations import combinations
        from src.config.settings import check_machine, check_whole, plain

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        check_machine(plain(self.config))
        if self.max_batch_size is not None:
            check_whole("hydra.sweeper.max_batch_size", self.max_batch_size, 1, "hydra.sweeper.max_batch_size=2")
        choice = self.config.hydra.runtime.choices["hydra/launcher"]
        if self.config.dry_run and choice != "local":
            raise HydraException(
                f"dry_run=true: works only with the local launcher, not with {choice}; leave out hydra/launcher="
            )
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        jobs = combinations(overrides, self.config.get("together"))
        returns: list[Sequence[JobReturn]] = []
        for batch in self.split_overrides_to_chunks(jobs, self.max_batch_size):
            self._check(batch)
            returns.append(self.launcher.launch(batch, initial_job_idx=sum(map(len, returns))))
            for ret in returns[-1]:
                _ = ret.return_value  # raises the error of the job
        return returns

    def _check(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose each job, and raise the error if all have the same. Other errors are reported when their job fails.

        Data files are checked only for the local launcher: the machine that submits jobs to a cluster may lack them.
        """
        from src.config.resolve import resolve
        from src.config.settings import check, plain
        from src.errors import UserError, one_line

        assert self.config is not None
        assert self.hydra_context is not None
        said = set()
        for job in batch:
            cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
            choices = cfg.hydra.runtime.choices
            try:
                if self.config.hydra.runtime.choices["hydra/launcher"] == "local":
                    resolve(cfg, choices).load()
                else:
                    check(plain(cfg), choices["data"])
            except (UserError, OmegaConfBaseException, OSError) as error:
                said.add(one_line(error))
            else:
                return  # a job can be trained
        if len(said) == 1:
            raise UserError(said.pop())
