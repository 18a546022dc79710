"""Progress of a run: a line per epoch and, on a terminal, a progress bar below."""

from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from src.display.eta import clock
from src.runs.record import Row
from src.training.classifier import Classifier
from src.training.lightning import Callback, LightningModule, Trainer


def figures(row: Row) -> str:
    """Format the losses and accuracies of an epoch."""
    splits = [key.removesuffix("_loss") for key in row if key.endswith("_loss")]
    return "  ".join(f"{split} {row[f'{split}_loss']:.4f} {row[f'{split}_accuracy']:.2%}" for split in splits)


class ProgressBar(Callback):
    """Prints losses, accuracies and images per second of each epoch; without a terminal, also the name and ETA."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}  ETA"),
            TimeRemainingColumn(),
            BarColumn(bar_width=None),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            expand=True,
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        epochs, done = int(trainer.max_epochs or 0), len(pl_module.curve)
        self.began, self.done_before = monotonic(), done
        self.task = self.bar.add_task(self.name, total=epochs, completed=done, epoch=f"{done}/{epochs}")
        if done:
            self.console.print(
                f"resumes after {done} of {epochs} epochs  {figures(pl_module.curve[-1])}", soft_wrap=True
            )
        self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.bar.advance(self.task, 1 / trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        row, epochs = pl_module.curve[-1], int(trainer.max_epochs or 0)
        done = int(row["epoch"])
        self.bar.update(self.task, completed=done, epoch=f"{done}/{epochs}")
        line = f"epoch {done}/{epochs}  {figures(row)}  {row['images_per_second']:,.0f} images/s"
        if self.console.is_terminal:
            self.console.print(line, overflow="ellipsis", no_wrap=True)
        else:
            pace = (monotonic() - self.began) / (done - self.done_before)
            self.console.print(f"{self.name}  {line}  ETA {clock(pace * (epochs - done))}", soft_wrap=True)
            self.console.file.flush()

    def close(self) -> None:
        """Remove the bar."""
        self.bar.stop()
