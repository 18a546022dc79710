"""One run of a group: its directory, data, network and optimizer."""

from collections.abc import Hashable

from omegaconf import DictConfig

from src.config.resolve import resolve, without_hydra
from src.files import Damaged
from src.runs.directory import Run
from src.runs.own_code import own_code
from src.runs.record import finite
from src.training.datamodule import DataModule
from src.training.trainer import Training


class Member:
    """The run of job `number`, with everything it trains. Raises UserError.

    `shared` caches the data of earlier members, so that runs with the same minibatches share one copy.
    """

    def __init__(self, number: int, config: DictConfig, shared: dict[Hashable, DataModule]) -> None:
        self.number, self.config = number, config
        self.cfg = without_hydra(config)
        self.resolved = resolve(self.cfg, config.hydra.runtime.choices)
        self.run, self.names = Run(self.resolved.directory), self.resolved.names
        self.images = self.resolved.load()
        self.begun = False
        self.forced = self.run.to_be_cleared(config.force)
        if not self.forced:
            self.run.check_data(self.images.sha256, self.images.shape)
            self.run.check_code(own_code(self.resolved.settings))
        self.build(shared)

    def build(self, shared: dict[Hashable, DataModule]) -> None:
        """Build or rebuild the data, network and optimizer."""
        cfg, settings = self.cfg, self.resolved.settings
        self.training = Training(settings, self.images, cfg.device, cfg.probe)
        data = self.training.data
        self.batch_sizes = tuple(data.batch_size_in(epoch) for epoch in range(settings.epochs))
        self.training.data = shared.setdefault((settings.seed, self.batch_sizes), data)

    @property
    def seed(self) -> int:
        return self.training.settings.seed

    @property
    def done(self) -> bool:
        """True if the run has ended and is not to be repeated."""
        return self.run.ended and not self.forced

    def begin(self) -> None:
        """Prepare the run's directory; the caller holds its lock."""
        if self.forced:
            self.run.stage()
            self.forced = False
        self.begun = True
        self.run.write_hydra_files(self.cfg, self.config.hydra)

    def epochs_done(self) -> int | None:
        """Return the number of epochs in the checkpoint, or None if the training is complete or diverged."""
        try:
            checkpoint = self.training.checkpoint(self.run)
        except Damaged:  # `Training.begin` reports it
            checkpoint = None
        curve = checkpoint["curve"] if checkpoint else []
        over = len(curve) == self.training.settings.epochs or (bool(curve) and not finite(curve[-1]))
        return None if over else len(curve)
