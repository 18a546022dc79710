"""The callback that writes a run's curve, settings and error figure for TensorBoard."""

import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import PIL.Image
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from src.runs.record import PROBED, Row
from src.training.classifier import Classifier
from src.training.lightning import Callback, LightningModule, Trainer


def _quieten() -> None:
    """Print no traceback of the thread that writes: what it raises, on a full disk say, is raised again by `flush`."""
    usual = threading.excepthook
    if getattr(usual, "quiet", False):
        return

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.thread, _AsyncWriterThread):
            usual(arguments)

    hook.quiet = True  # type: ignore[attr-defined]
    threading.excepthook = hook


class TensorBoard(Callback):
    """Writes one events file. A resumed run writes its earlier epochs again, so that none is missing or duplicated.

    The HParams tab gets session-start and session-end summaries but no `Experiment` summary. With one, the tab would
    take its columns from a single run; without, it shows the union of all runs' columns.
    """

    def __init__(self, directory: Path, hyperparameters: dict[str, float | str]) -> None:
        self.directory, self.hyperparameters = directory, hyperparameters

    @cached_property
    def writer(self) -> SummaryWriter:
        """Opened when the first epoch is on disk: an earlier training is kept until then."""
        for file in self.directory.glob("events.out.tfevents.*"):
            file.unlink()
        _quieten()
        writer = SummaryWriter(str(self.directory))
        _, session_start, _ = hparams(self.hyperparameters, {})
        writer._get_file_writer().add_summary(session_start)
        return writer

    def close(self) -> None:
        """Close the file if it was opened."""
        if "writer" in vars(self):
            self.writer.close()

    @property
    def _summary(self) -> Any:
        return self.writer._get_file_writer()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        for row in pl_module.curve:
            self.write(row)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classifier)
        self.write(pl_module.curve[-1])
        self.writer.flush()

    def write(self, row: Row) -> None:
        """Write the scalars of an epoch."""
        for key, value in row.items():
            split, _, figure = key.rpartition("_")
            part = "probe" if key in PROBED else "run"
            tag = f"{figure}/{split}" if figure in ("loss", "accuracy") else f"{part}/{key}"
            if key != "epoch":
                self.writer.add_scalar(tag, value, int(row["epoch"]))

    def error_figure(self, png: Path, epoch: int) -> None:
        """Write the error figure of the last epoch, as encoded in its file."""
        with PIL.Image.open(png) as opened:
            width, height = opened.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png.read_bytes())
        self._summary.add_summary(Summary(value=[Summary.Value(tag="errors on the test set", image=image)]), epoch)

    def end(self, success: bool) -> None:
        """Write the session's end and status."""
        status = api_pb2.Status.Value("STATUS_SUCCESS" if success else "STATUS_FAILURE")
        end = plugin_data_pb2.SessionEndInfo(status=status)
        content = plugin_data_pb2.HParamsPluginData(session_end_info=end, version=metadata.PLUGIN_DATA_VERSION)
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString())
        value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=SummaryMetadata(plugin_data=plugin))
        self._summary.add_summary(Summary(value=[value]))
