"""One run of a group, before it has become part of it."""

from collections.abc import Hashable

from omegaconf import DictConfig

from src.data import datasets
from src.errors import UserError
from src.runs.atomic import Damaged
from src.runs.record import finite
from src.sweep.job import Job, write_hydra_files
from src.training.datamodule import DataModule
from src.training.trainer import Training


class Member:
    """A job and all that its run needs, built and checked. Raises UserError.

    `shared` holds the data of the members that were built before, of which runs that see the same need but one.
    """

    def __init__(self, number: int, config: DictConfig, shared: dict[Hashable, DataModule]) -> None:
        self.number, self.job = number, Job(config)
        if self.job.run is None or self.job.state is None:
            raise UserError(self.job.reason)
        self.run, self.names = self.job.run, self.job.state.names
        self.build(shared)

    def build(self, shared: dict[Hashable, DataModule]) -> None:
        """Build, or build anew, what it trains."""
        assert self.job.state
        config, settings = self.job.config, self.job.state.settings
        loaded = datasets.load(settings.data, str(config.data_root))
        self.training = Training(settings, loaded, config.device, config.threads, config.threads)
        data = self.training.data
        self.batch_sizes = tuple(data.batch_size_in(epoch) for epoch in range(settings.epochs))
        self.training.data = shared.setdefault((settings.seed, self.batch_sizes), data)

    @property
    def seed(self) -> int:
        return self.training.settings.seed

    @property
    def done(self) -> bool:
        """Whether there is nothing left to train or to write."""
        return self.run.ended and not self.job.forced

    def begin(self) -> None:
        """Make its directory ready, the lock of which is held."""
        if self.job.forced:
            self.run.clear()
            self.job.forced = False
        write_hydra_files(self.run, self.job.own_config, self.job.config.hydra)

    def epochs_done(self) -> int | None:
        """Of its checkpoint; None where it is to be trained no further."""
        try:
            checkpoint = self.training.checkpoint(self.run)
        except Damaged:  # `Training.begin` will tell
            checkpoint = None
        curve = checkpoint["curve"] if checkpoint else []
        over = len(curve) == self.training.settings.epochs or (bool(curve) and not finite(curve[-1]))
        return None if over else len(curve)
