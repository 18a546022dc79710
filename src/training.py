"""One training, from settings to a finished record."""

import sys
import traceback
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from torch.optim import Optimizer

from src.classifier import Classifier
from src.data import DataModule
from src.errors import UserError, one_line
from src.images import Images
from src.lightning import LightningEnvironment, Trainer
from src.native import convolution
from src.native.allocator import keep_freed_memory
from src.native.library import engine
from src.outcome import logits_of, outcome
from src.progress import ProgressBar
from src.recorder import Recorder
from src.runs.checkpoint import AtomicCheckpointIO, intact
from src.runs.files import set_aside
from src.runs.provenance import provenance
from src.runs.run import Run, now
from src.runs.settings import Names, Settings, title
from src.schedules import Schedule
from src.targets import build, new_model
from src.tensorboard import TensorBoard


class Training:
    """All that a run needs, built and checked. Nothing is written before `train_in`. Raises UserError.

    `threads` is torch's number of threads, which may change last bits; `cores` is how many share the native operators'
    work, which changes none.
    """

    def __init__(
        self, settings: Settings, images: Images, device: str = "auto", threads: int = 1, cores: int = 1
    ) -> None:
        torch.set_num_threads(threads)
        convolution.THREADS.number = cores
        keep_freed_memory()
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device=cuda: there is no CUDA device here; take device=cpu or device=auto")
        self.settings, self.images, self.threads = settings, images, threads
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        schedule = build("schedule", settings.schedule, Schedule, epochs=settings.epochs)
        self.data = DataModule(images, schedule, settings.batch_size, settings.seed, settings.validation)
        # On its device before an optimizer is built on it: some lay out their state at once.
        self.model = new_model(settings).to(self.device)
        optimizer = build("optimizer", settings.optimizer, Optimizer, self.model.parameters(), lr=settings.lr)
        self.classifier = Classifier(self.model, optimizer, schedule, settings.lr, settings.seed)

    def train_in(self, run: Run, console: Console, names: Names, classes: list[str]) -> None:
        """Train in the directory of `run`, from its last checkpoint if it has one, until its record says how it ended.

        The caller holds the lock. Raises what ends the run early, after the record says so.
        """
        if run.checkpoint.exists() and not intact(run.checkpoint):
            print(f"{set_aside(run.checkpoint)}: damaged, so set aside; the run begins anew", file=sys.stderr)
        if run.record_file.exists() and not run.record():
            print(f"{set_aside(run.record_file)}: damaged, so set aside", file=sys.stderr)
        resumed = run.checkpoint.exists()
        session = {
            "began": now(),
            "command": sys.argv,
            "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "threads": self.threads,
            "cores": convolution.THREADS.number,
            "kernels": engine() if self.device == "cpu" else "torch",
            **provenance(),
        }
        run.write(
            {
                "status": "running",
                "names": asdict(names),
                "settings": asdict(self.settings),
                "data": self._description(),
                "sessions": [*(run.record().get("sessions", []) if resumed else []), session],
            }
        )
        try:
            self._fit(run, console, names, classes, resumed)
        except Exception as error:
            run.update(status="failed", error=one_line(error), traceback=traceback.format_exc())
            raise
        except BaseException:
            run.update(status="interrupted")
            raise

    def _fit(self, run: Run, console: Console, names: Names, classes: list[str], resumed: bool) -> None:
        board = TensorBoard(run.directory, self._hyperparameters(names))
        heading = title(self.settings, names)
        progress = ProgressBar(console, heading)
        trainer = Trainer(
            accelerator=self.device,
            devices=1,
            max_epochs=self.settings.epochs,
            reload_dataloaders_every_n_epochs=1,  # each epoch has its own order, and perhaps batch size
            num_sanity_val_steps=0,
            callbacks=[Recorder(run), board, progress],  # an epoch is shown once it is on disk
            plugins=[AtomicCheckpointIO(), LightningEnvironment()],  # one process, also as a task of Slurm's
            default_root_dir=run.directory,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            checkpoint = run.checkpoint if resumed else None
            torch.set_flush_denormal(True)  # such numbers are slow, and of no use to learning
            try:
                trainer.fit(self.classifier, self.data, ckpt_path=checkpoint, weights_only=True)
            finally:
                torch.set_flush_denormal(False)  # but numpy and matplotlib want them
                progress.close()
            from src.mistakes import picture  # matplotlib takes half a second to import, which can wait until here

            figures, diverged = outcome(self.classifier, self.data, self.settings)
            test = self.data.splits["test"]
            logits, labels = logits_of(self.model, test), test.labels.cpu()
            run.write_predictions(logits.argmax(1).byte().numpy(), labels.byte().numpy())
            pixels = picture(test.images.cpu(), labels, logits, classes, heading)
            run.write_picture(pixels)
            board.picture(pixels, figures["epochs"])
            board.end(success=not diverged)
            run.update(status="diverged" if diverged else "finished", figures=figures, ended=now())
        finally:
            board.writer.close()

    def _description(self) -> dict[str, Any]:
        arrays = self.data.arrays
        sizes = {name: len(arrays[name][1]) if name in arrays else 0 for name in ("train", "validation", "test")}
        return {"name": self.settings.data, **sizes, "mean": self.data.mean, "sha256": self.images.sha256}

    def _hyperparameters(self, names: Names) -> dict[str, float | str]:
        """What the HParams tab compares: names, and every setting as a number or a text, always the same of the two."""
        settings = self.settings.flat.items()
        numbers = {key: float(value) if isinstance(value, int | float) else str(value) for key, value in settings}
        return numbers | asdict(names)
