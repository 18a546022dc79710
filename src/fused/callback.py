"""The callback that puts the epochs of a group on disk."""

import time
from collections.abc import Sequence

from src.fused.classifier import GroupClassifier
from src.runs.directory import Run
from src.training.callbacks.recorder import Recorder
from src.training.callbacks.tensorboard import TensorBoard
from src.training.lightning import Callback, LightningModule, Trainer

PERIOD = 2.0  # seconds: on a GPU an epoch takes less time than its files
SHARE = 10  # times as long as writing takes it is not done again


class GroupRecorder(Callback):
    """Writes each run's curve, and then all checkpoints: after an epoch if it is time, or if a run is over."""

    def __init__(self, runs: Sequence[Run], boards: Sequence[TensorBoard]) -> None:
        self.runs, self.boards = runs, boards

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GroupClassifier)
        self.due = time.monotonic() + PERIOD
        for run, board, member in zip(self.runs, self.boards, pl_module.classifiers, strict=True):
            for callback in (Recorder(run), board):
                callback.on_fit_start(trainer, member)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GroupClassifier)
        numbers, members = pl_module.training_members, pl_module.classifiers
        for number in numbers:
            self.boards[number].write(members[number].curve[-1])
        at_the_end = pl_module.current_epoch + 1 == trainer.max_epochs
        one_is_over = not all(members[number].finite for number in numbers)
        if at_the_end or one_is_over or time.monotonic() >= self.due:
            began = time.monotonic()
            for number in numbers:
                self.runs[number].write_curve(members[number].curve)
                self.boards[number].writer.flush()
            trainer.save_checkpoint(self.runs[0].checkpoint)
            ended = time.monotonic()
            self.due = ended + max(PERIOD, SHARE * (ended - began))
