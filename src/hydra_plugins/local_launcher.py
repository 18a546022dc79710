"""`hydra/launcher=local`: run a sweep's jobs in worker processes of this machine, one per core, or in groups on GPUs.

Hydra finds this module in the package `hydra_plugins` and imports it at each start, so slow imports are deferred.
"""

import atexit
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

if TYPE_CHECKING:
    from src.sweep.job import Job


@dataclass
class LocalLauncherConf:
    """The settings in `hydra.launcher`."""

    _target_: str = "hydra_plugins.local_launcher.LocalLauncher"
    workers: int | None = None  # None: one per available core or, for groups, per GPU
    vectorize: Any = "auto"  # true: train compatible runs as one model; auto: only on a GPU
    verify: bool = True  # compare such a model's first gradients and graphs with those of its runs alone


class LocalLauncher(Launcher):
    """Runs the jobs that are not done and shows their progress."""

    def __init__(self, workers: int | None = None, vectorize: Any = "auto", verify: bool = True) -> None:
        self.workers, self.vectorize = workers, vectorize  # `train_group` reads `verify` from the jobs' configuration
        self.crew: Any = None  # its processes serve all batches of a sweep

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from src.config.loader import Composer

        # The sweeper holds the same context, and composes each job too, to check it.
        hydra_context.config_loader = Composer(hydra_context.config_loader)  # type: ignore[assignment]
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from src.config.settings import KEYS, check_cores
        from src.display.plan_progress import composed
        from src.sweep.crew import Crew
        from src.sweep.scheduler import SweepScheduler

        if set(self.config) >= KEYS:  # else an application other than Ravine
            check_cores(self.config.threads)
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        composing = (self._job(overrides, n) for n, overrides in enumerate(job_overrides, initial_job_idx))
        jobs = list(composed(composing, len(job_overrides)))
        by_identity = {job.identity: job for job in jobs}  # two jobs may have the same run
        if self.crew is None:
            self.crew = Crew()
            atexit.register(self.crew.dismiss)  # later, standard modules that the pools need would be gone
        scheduler = SweepScheduler(list(by_identity.values()), self.workers, self.crew, self.vectorize)
        if scheduler.dry_run:
            scheduler.preview()
        else:
            scheduler.train(self.function, self.context)
            scheduler.print_results()
        return [by_identity[job.identity].result for job in jobs]

    def _job(self, overrides: Sequence[str], number: int) -> "Job":
        from src.sweep.job import Job

        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return Job(config)


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConf, provider="ravine")
