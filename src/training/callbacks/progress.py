"""How far a training is: a bar on a terminal, a plain line an epoch elsewhere."""

from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from src.display.eta import clock
from src.runs.record import Row
from src.training.classifier import Classifier
from src.training.lightning import Callback, LightningModule, Trainer


def figures(row: Row) -> str:
    """Losses and accuracies of an epoch."""
    splits = [key.removesuffix("_loss") for key in row if key.endswith("_loss")]
    return "  ".join(f"{split} {row[f'{split}_loss']:.4f} {row[f'{split}_accuracy']:.2%}" for split in splits)


class ProgressBar(Callback):
    """Epoch, losses, accuracies, images a second and time to go."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self.bar = Progress(
            BarColumn(bar_width=12),
            TextColumn("epoch {task.fields[epoch]}  ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),  # last, since a narrow terminal cuts there
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        epochs, done = int(trainer.max_epochs or 0), len(pl_module.curve)
        self.began, self.done_before = monotonic(), done
        latest = pl_module.curve[-1:]
        self.task = self.bar.add_task(
            self.name,
            total=epochs,
            completed=done,
            epoch=f"{done}/{epochs}",
            figures=figures(latest[0]) if latest else "",
        )
        if self.console.is_terminal:
            self.console.print(self.name)
        self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.bar.advance(self.task, 1 / trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        row, epochs = pl_module.curve[-1], trainer.max_epochs
        done = int(row["epoch"])
        text = f"{figures(row)}  {row['images_per_second']:,.0f} images/s"
        self.bar.update(self.task, completed=done, epoch=f"{done}/{epochs}", figures=text)
        if not self.console.is_terminal:
            pace = (monotonic() - self.began) / (done - self.done_before)
            eta = clock(pace * (int(epochs or 0) - done))
            line = f"{self.name}  epoch {done}/{epochs}  {text}  ETA {eta}"
            self.console.print(line, soft_wrap=True)
            self.console.file.flush()

    def close(self) -> None:
        """Take the bar away."""
        self.bar.stop()
