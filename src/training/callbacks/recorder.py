"""The callback that writes each epoch to disk."""

from collections.abc import Callable
from pathlib import Path

from src.runs.directory import Run
from src.training.classifier import Classifier
from src.training.lightning import Callback, LightningModule, Trainer


class Recorder(Callback):
    """Writes the curve, then the checkpoint, which also holds the curve, at the end of each epoch.

    It never checkpoints within an epoch: resuming there, Lightning trains on some minibatches twice. `check` is called
    with the first checkpoint; if it returns True, the checkpoint is written again.
    """

    def __init__(self, run: Run, check: Callable[[Path], bool] | None = None) -> None:
        self.run, self.check = run, check

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        if pl_module.curve:  # resumed; metrics.csv may be an epoch ahead of the checkpoint
            self.run.write_curve(pl_module.curve)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.run.write_curve(pl_module.curve)
        trainer.save_checkpoint(self.run.checkpoint)
        if self.check and self.check(self.run.checkpoint):
            trainer.save_checkpoint(self.run.checkpoint)
        self.check = None
        if self.run.staged:
            self.run.adopt()
