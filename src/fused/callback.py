"""The callback that writes the epochs of a group to disk."""

import time
from collections.abc import Sequence
from dataclasses import replace

from src.fused.classifier import GroupClassifier
from src.runs.directory import Run
from src.training.callbacks.recorder import Recorder
from src.training.callbacks.tensorboard import TensorBoard
from src.training.lightning import Callback, LightningModule, Trainer

PERIOD = 2.0  # seconds between writes: on a GPU, writing the files takes longer than an epoch
SHARE = 10  # at least this many times the duration of a write passes before the next


class GroupRecorder(Callback):
    """Writes all curves, then all checkpoints, after an epoch if a write is due or a run has ended."""

    def __init__(self, runs: Sequence[Run], boards: Sequence[TensorBoard]) -> None:
        self.runs, self.boards = runs, boards

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GroupClassifier)
        self.due = time.monotonic() + PERIOD
        self.told: object = None
        for run, board, member in zip(self.runs, self.boards, pl_module.classifiers, strict=True):
            for callback in (Recorder(run), board):
                callback.on_fit_start(trainer, member)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GroupClassifier)
        numbers, members = pl_module.training_members, pl_module.classifiers
        if pl_module.verify and (found := replace(pl_module.verification)) != self.told:
            self.told = found
            for number in numbers:
                self.runs[number].update(verified=found.record(number))
        at_the_end = pl_module.current_epoch + 1 == trainer.max_epochs
        one_is_over = not all(members[number].finite for number in numbers)
        one_is_staged = any(self.runs[number].staged for number in numbers)
        due = at_the_end or one_is_over or one_is_staged or time.monotonic() >= self.due
        if due:
            began = time.monotonic()
            for number in numbers:
                self.runs[number].write_curve(members[number].curve)
            trainer.save_checkpoint(self.runs[0].checkpoint)
            for number in numbers:
                if self.runs[number].staged:
                    self.runs[number].adopt()
            ended = time.monotonic()
            self.due = ended + max(PERIOD, SHARE * (ended - began))
        for number in numbers:
            self.boards[number].write(members[number].curve[-1])
            if due:
                self.boards[number].writer.flush()
