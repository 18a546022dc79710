"""Train one run, from its settings to its finished record."""

import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from src.config.settings import RECIPE, ConfigChoices, Probe, Settings, display_name
from src.data.images import Images, brightness, largest_class
from src.errors import UserError, one_line
from src.files import Damaged, set_aside
from src.native.build import backend
from src.native.chain import why_autograd
from src.native.malloc import keep_freed_memory
from src.native.threads import THREADS
from src.native.update import why_python
from src.network import new_model
from src.runs.checkpoint import DIGEST, read_fitting
from src.runs.directory import CODE, Run, now
from src.runs.own_code import own_code
from src.runs.own_globals import begin_anew
from src.runs.provenance import command_id, provenance
from src.schedules.checking import check_schedule
from src.schedules.torch_scheduler import new_schedule
from src.training.callbacks.progress import ProgressBar
from src.training.callbacks.recorder import Recorder
from src.training.callbacks.tensorboard import TensorBoard
from src.training.checkpoint_io import AtomicCheckpointIO
from src.training.classifier import Classifier
from src.training.continuing import continue_shorter
from src.training.datamodule import DataModule
from src.training.evaluation import final_figures, final_loss, initial_loss, logits_of
from src.training.lightning import fit
from src.training.new_optimizer import new_optimizer
from src.training.resuming import changes, listed, restored, unsaved_state


def set_up_process(threads: int, cores: int) -> None:
    """Set this process's threads and allocator.

    `threads` is torch's thread count, which can change the last bits of results. `cores` is the native operators'
    thread count, which cannot.
    """
    torch.set_num_threads(threads)
    THREADS.number = cores
    keep_freed_memory()


class Training:
    """The data, network, optimizer and schedule of a run. Nothing is written before `train_in`. Raises UserError."""

    def __init__(self, settings: Settings, images: Images, device: str = "auto", probe: Probe = False) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device=cuda: no CUDA device is available; use device=cpu or device=auto")
        self.settings, self.images, self.probe = settings, images, probe
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        schedule = new_schedule(settings.schedule, settings.epochs)
        self.data = DataModule(
            images,
            schedule,
            settings.batch_size,
            settings.seed,
            settings.validation,
            settings.normalize,
            settings.augment,
        )
        check_schedule(schedule, settings.lr, settings.batch_size, self.data.trained_on)
        self.code = own_code(settings)
        begin_anew(self.code)
        self.classifier = self._built(probe)
        if not self.classifier.rates.has_lr:
            epochs = range(settings.epochs)
            if {lr for epoch in epochs for lr in schedule.lrs(settings.lr, epoch, self.data.updates)} != {settings.lr}:
                name = type(self.classifier.optimizer).__name__
                raise UserError(
                    f"schedule: changes the lr, which the groups of {name} do not have; use schedule=constant"
                )
        if schedule.momenta(settings.lr, 0, self.data.updates) and not self.classifier.rates.has_momentum:
            name = type(self.classifier.optimizer).__name__
            raise UserError(
                f"schedule: changes the momentum, and {name} has none; for torch's schedulers, add "
                "++schedule.cycle_momentum=false"
            )

    def _built(self, probe: Probe = False) -> Classifier:
        """Return the untrained network and its optimizer."""
        settings, images = self.settings, self.images
        # Moved before the optimizer is built, since some optimizers allocate their state at once.
        model = new_model(settings, images.shape, len(images.classes)).to(self.device)
        optimizer = new_optimizer(settings.optimizer, model, settings.lr)
        arguments = model, optimizer, self.data.schedule, settings.lr, settings.seed
        if probe:
            from src.training.probed_classifier import ProbedClassifier  # imports SciPy, which other runs do not need

            built: Classifier = ProbedClassifier(*arguments, probe)
        else:
            built = Classifier(*arguments)
        built.code = self.code
        return built

    @property
    def model(self) -> nn.Module:
        return self.classifier.model

    @property
    def identity(self) -> dict[str, str | None]:
        """What a checkpoint of this run says of it: its settings, data and code."""
        return {
            DIGEST: self.settings.digest,
            "data_sha256": self.images.sha256,
            "code": self.code.digest,
        }

    def train_in(self, run: Run, console: Console, names: ConfigChoices) -> None:
        """Train in the directory of `run`, resuming from its checkpoint if there is one, and record how the run ended.

        The caller holds the lock. Any exception is recorded as the status failed or interrupted, then raised.
        """
        resumed = self.begin(run, names)
        try:
            try:
                self._fit(run, console, names, resumed)
            except Exception as error:
                # `one_line` raises Interrupted if a library has turned an interrupt into this error.
                run.update(status="failed", error=one_line(error), traceback=traceback.format_exc())
                raise
        except Exception:
            raise
        except BaseException:
            run.update(status="interrupted")
            raise

    def checkpoint(self, run: Run) -> dict[str, Any] | None:
        """Return the checkpoint from which the run can resume, or None. Raises Damaged.

        Raises UserError if it is that of other code of the user's own.
        """
        if not os.path.lexists(run.checkpoint):
            return None
        settings, sha256 = self.settings, self.images.sha256
        found = read_fitting(
            run.checkpoint, settings.digest, sha256, settings.epochs, self.model, self.classifier.optimizer
        )
        if found.get("code", self.code.digest) != self.code.digest:
            raise run.trained_by_other_code(self.code)
        return found

    def _resume(self, run: Run) -> bool:
        """Restore the state of the network and the optimizer; return False if the run starts over."""
        try:
            if (checkpoint := self.checkpoint(run)) is None:
                return False
            if unsaved := checkpoint.get("unsaved"):
                print(f"{run.directory}: starts over, since it lacks {listed(unsaved)}", file=sys.stderr)
                return False
            if "snapshot" in checkpoint and (lost := restored(checkpoint, self.classifier, self.device)):
                raise Damaged(f"it does not restore {listed(list(lost))}")
            return True
        except Damaged as error:
            _rename(run.checkpoint, f"{error}; the run starts over")
            begin_anew(self.code)
            self.classifier = self._built(self.probe)  # a part of it may have been restored
            return False

    def begin(self, run: Run, names: ConfigChoices, group_size: int = 1) -> bool:
        """Record that the run is training, in a group of `group_size`; return whether it resumes from a checkpoint.

        Damaged files are renamed to `*.damaged`.
        """
        for file, why in run.damage().items():
            _rename(file, why)
        begun = continue_shorter(run, self.settings, self.identity, self.probe) if group_size == 1 else {}
        resumed = self._resume(run)
        sessions = (run.record() or begun).get("sessions", []) if resumed else []
        session: dict[str, Any] = {
            "began": now(),
            "command": sys.argv,
            "command_id": command_id(),
            "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "cores": THREADS.number,
            "kernels": backend() if self.device == "cpu" else "torch",
            "group_size": group_size,
            "probe": self.probe,
            "code": self.code.digest,
            **provenance(),
        }
        if sessions and (changed := changes(sessions[-1], session)):
            print(
                f"{run.directory}: resumes with {changed}, so its last bits are those of neither; "
                "force=true trains it anew",
                file=sys.stderr,
            )
        if not resumed:
            self.code.copy_to(run.folder / CODE)
        run.write(
            {
                "status": "running",
                "recipe": RECIPE,
                "fused": group_size > 1 or any(each.get("group_size", 1) > 1 for each in sessions),
                "names": asdict(names),
                "settings": asdict(self.settings),
                "data": self._description(),
                "sessions": [*sessions, session],
            }
        )
        return resumed

    def _fit(self, run: Run, console: Console, names: ConfigChoices, resumed: bool) -> None:
        board = self.board(run, names)
        progress = ProgressBar(console, display_name(self.settings, names))
        # In this order, so that an epoch is shown once it is on disk.
        callbacks = [Recorder(run, self._misses_state), board, progress]
        try:
            try:
                checkpoint = run.checkpoint if resumed else None
                io = AtomicCheckpointIO(self.identity)
                fit(self.classifier, self.data, self.device, self.settings.epochs, callbacks, io, checkpoint)
            finally:
                progress.close()
            self.end(run, board, names, initial_loss(self.data, self.settings, self.images))
        finally:
            board.close()

    def _misses_state(self, checkpoint: Path) -> bool:
        """Return True, after a warning, if a run cannot resume from its first checkpoint."""
        if not self.classifier.has_learned:
            print(
                "no weight has changed in the first epoch: does the optimizer's step use the gradients?",
                file=sys.stderr,
            )
        self.classifier.unsaved = unsaved_state(self.classifier, checkpoint, self._built, self.device)
        if self.classifier.unsaved:
            print(
                f"cannot be resumed: state in {listed(self.classifier.unsaved)}; a run that is killed starts over",
                file=sys.stderr,
            )
        return bool(self.classifier.unsaved)

    def board(self, run: Run, names: ConfigChoices) -> TensorBoard:
        """Return the callback that writes the curve for TensorBoard."""
        return TensorBoard(run.directory, self._hyperparameters(names))

    def end(self, run: Run, board: TensorBoard, names: ConfigChoices, loss_at_first: float) -> None:
        """Write predictions, error figure and final record; `loss_at_first` is the untrained network's loss."""
        # Imported late, since matplotlib takes half a second.
        from src.training.error_figure import error_figure

        figures, diverged = final_figures(self.classifier, loss_at_first, final_loss(self.model, self.data))
        test = self.data.splits["test"]
        logits, labels = logits_of(self.model, test), test.labels.cpu()
        classes = self.images.classes
        run.write_predictions(logits.argmax(1).numpy(), labels.numpy(), len(classes))
        pixels = error_figure(test.images.cpu(), labels, logits, classes, display_name(self.settings, names))
        run.write_error_figure(pixels)
        board.error_figure(run.error_figure_file, figures["epochs"])
        board.end(success=not diverged)
        status = "diverged" if diverged else "finished"
        run.update(status=status, figures=figures, slow=self._why_slow(), ended=now())

    def _why_slow(self) -> str:
        """Return why the native code did not train this run; empty if it did, or on a GPU."""
        if self.device != "cpu":
            return ""
        stepper = self.classifier.stepper
        if stepper.create_graph:
            return "trained by autograd: the optimizer wants second derivatives"
        if stepper.differentiates:
            return "trained by autograd: the optimizer calls backward itself"
        if reason := why_autograd(self.model, self.data.splits["train"].pixels):
            return f"trained by autograd: {reason}"
        return why_python(stepper.optimizer)

    def _description(self) -> dict[str, Any]:
        arrays = self.data.arrays
        sizes = {name: len(arrays[name][1]) if name in arrays else 0 for name in ("train", "validation", "test")}
        return {
            "name": self.settings.data,
            **sizes,
            "shape": list(self.images.shape),
            "classes": list(self.images.classes),
            "mean": self.data.mean,
            "std": self.data.std,
            "brightness": brightness(arrays["train"][0].numpy()),
            "sha256": self.images.sha256,
            "largest_class": {name: largest_class(labels.numpy()) for name, (_, labels) in arrays.items()},
        }

    def _hyperparameters(self, names: ConfigChoices) -> dict[str, float | str]:
        """Return the HParams tab's columns: names and settings. A setting has the same type in every run."""
        settings = self.settings.flat.items()
        numbers = {key: float(value) if isinstance(value, int | float) else str(value) for key, value in settings}
        return numbers | asdict(names)


def _rename(file: Path, why: str) -> None:
    to = f"renamed to {set_aside(file).name}" if os.path.lexists(file) else "missing"
    print(f"{file}: damaged, {to} ({why})", file=sys.stderr)
