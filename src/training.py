"""One training, from settings to a finished record."""

import math
import sys
import traceback
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from src.classifier import Classifier
from src.data import DataModule, Split
from src.errors import Interrupted, UserError, one_line
from src.images import Images
from src.lightning import Trainer
from src.progress import ProgressBar
from src.recorder import Recorder
from src.runs.checkpoint import AtomicCheckpointIO, intact
from src.runs.files import set_aside
from src.runs.provenance import provenance
from src.runs.run import Run, now
from src.runs.settings import Settings
from src.schedules import Schedule
from src.sums import Sums
from src.targets import build
from src.tensorboard import TensorBoard


def new_model(settings: Settings) -> nn.Module:
    """The network with the weights of its seed. Raises UserError, also where its output is not (B, 10)."""
    torch.manual_seed(settings.seed)
    model = build("model", settings.model, nn.Module)
    try:
        with torch.no_grad():
            shape = tuple(model.eval()(torch.zeros(2, 1, 28, 28)).shape)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"model: does not take images of shape (2, 1, 28, 28): {one_line(error)}") from error
    if shape != (2, 10):
        raise UserError(f"model: its output for 2 images has shape {shape}; must be (2, 10), the logits of 10 classes")
    return model.train()


class Training:
    """All that a run needs, built and checked. Nothing is written before `into`. Raises UserError."""

    def __init__(self, settings: Settings, images: Images, device: str = "auto", threads: int = 1) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)  # of no use to learning, and slow
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device=cuda: there is no CUDA device here; take device=cpu or device=auto")
        self.settings, self.images, self.threads = settings, images, threads
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        schedule = build("schedule", settings.schedule, Schedule, epochs=settings.epochs)
        self.data = DataModule(images, schedule, settings.batch_size, settings.seed, settings.validation)
        self.model = new_model(settings)
        optimizer = build("optimizer", settings.optimizer, Optimizer, self.model.parameters(), lr=settings.lr)
        self.classifier = Classifier(self.model, optimizer, schedule, settings.lr, settings.seed)

    def into(self, run: Run, console: Console, title: str, classes: list[str]) -> dict[str, Any]:
        """Train in the directory of `run`, from its last checkpoint if it has one; the final record.

        The caller holds the lock. Raises what ends the run early, after the record says so.
        """
        data = self._description()
        earlier = run.record()
        if earlier and earlier["data"]["sha256"] != data["sha256"]:
            raise UserError(f"{run.directory}: was begun on other {data['name']} files; force=true begins anew")
        if run.checkpoint.exists() and not intact(run.checkpoint):
            console.print(f"{set_aside(run.checkpoint)}: damaged, so set aside; the run begins anew", soft_wrap=True)
        resumed = run.checkpoint.exists()
        run.update(
            status="running",
            settings=asdict(self.settings),
            data=data,
            device=torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            threads=self.threads,
            command=sys.argv,
            started=earlier.get("started", now()) if resumed else now(),
            resumed=[*earlier.get("resumed", []), now()] if resumed else [],
            **provenance(),
        )
        try:
            return self._fit(run, console, title, classes, resumed)
        except Interrupted:
            run.update(status="interrupted")
            raise
        except Exception as error:
            run.update(status="failed", error=one_line(error), traceback=traceback.format_exc())
            raise

    def _fit(self, run: Run, console: Console, title: str, classes: list[str], resumed: bool) -> dict[str, Any]:
        board = TensorBoard(run.directory, self._hyperparameters(title))
        progress = ProgressBar(console, title)
        trainer = Trainer(
            accelerator=self.device,
            devices=1,
            max_epochs=self.settings.epochs,
            reload_dataloaders_every_n_epochs=1,  # each epoch has its own order, and perhaps batch size
            num_sanity_val_steps=0,
            callbacks=[board, progress, Recorder(run)],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run.directory,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            checkpoint = run.checkpoint if resumed else None
            trainer.fit(self.classifier, self.data, ckpt_path=checkpoint, weights_only=True)
        finally:
            progress.close()
        from src.mistakes import picture  # matplotlib takes half a second to import, which can wait until here

        figures, diverged = self._figures()
        test = self.data.splits["test"]
        pixels = picture(test.images.cpu(), test.labels.cpu(), self._logits(test), classes, title)
        run.write_picture(pixels)
        board.picture(pixels, figures["epochs"])
        board.close(success=not diverged)
        status = "diverged" if diverged else "finished"
        return run.update(status=status, figures=figures, finished=now())

    def _description(self) -> dict[str, Any]:
        arrays = self.data.arrays
        sizes = {name: len(arrays[name][1]) if name in arrays else 0 for name in ("train", "validation", "test")}
        return {"name": self.settings.data, **sizes, "mean": self.data.mean, "sha256": self.images.sha256}

    def _hyperparameters(self, title: str) -> dict[str, float | str]:
        settings = asdict(self.settings)
        chosen = {key: settings.pop(key) for key in ("model", "optimizer", "schedule")}
        # Always the same keys and types: a column that changes its type breaks the tab.
        return settings | {key: str(fields.pop("_target_").rpartition(".")[2]) for key, fields in chosen.items()}

    def _figures(self) -> tuple[dict[str, Any], bool]:
        """The last epoch's figures, None where not finite, and whether the run diverged."""
        last = self.classifier.curve[-1]
        initial = self._initial_loss()
        diverged = not self.classifier.finite or last["train_loss"] > initial
        scores = {key: value for key, value in last.items() if key.endswith(("_loss", "_accuracy"))}
        figures = {key: value if math.isfinite(value) else None for key, value in scores.items()}
        seconds = sum(row["seconds"] for row in self.classifier.curve)
        counts = {"epochs": int(last["epoch"]), "updates": int(last["updates"])}
        return figures | counts | {"initial_loss": initial, "training_seconds": seconds}, diverged

    @torch.no_grad()
    def _initial_loss(self) -> float:
        """The loss over the training set before any update, to which the last epoch's is compared.

        Over all of it: at a tiny lr a run gains less in its whole length than one minibatch differs from the next.
        """
        train = self.data.splits["train"]
        device = train.images.device
        model, sums = new_model(self.settings).to(device), Sums(device)
        for block in train.in_order():
            for images, labels in zip(*block, strict=True):
                logits = model(images)
                sums.add(cross_entropy(logits, labels, reduction="none").double(), logits, labels)
        return sums.figures("initial")["initial_loss"]

    @torch.no_grad()
    def _logits(self, split: Split) -> Tensor:
        model = self.model.to(split.images.device).eval()
        return torch.cat([model(images) for block in split.in_order() for images in block[0]]).cpu()
