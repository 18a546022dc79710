"""PyTorch Lightning, imported in half the time and with its hints silenced; all modules import it from here.

`import pytorch_lightning` imports all of torchmetrics, and thereby scipy.signal, matplotlib and torchvision, only for
`isinstance` checks of two classes that this project does not use. Two empty classes stand in for them during the
import; a later `import torchmetrics` finds the real package. Torch's compiler is deferred, too.
"""

import logging
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from src.training import deferred_dynamo

if "torchmetrics" in sys.modules:
    deferred_dynamo.defer()
    import pytorch_lightning
else:
    stand_in = ModuleType("torchmetrics")
    stand_in.Metric = type("Metric", (), {})  # type: ignore[attr-defined]
    stand_in.MetricCollection = type("MetricCollection", (dict,), {})  # type: ignore[attr-defined]
    sys.modules["torchmetrics"] = stand_in
    deferred_dynamo.defer()
    try:
        import pytorch_lightning
    finally:
        del sys.modules["torchmetrics"]

from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.warnings import disable_possible_user_warnings
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.utilities.seed import isolate_rng

from src.training.denormals import flushed_denormals

disable_possible_user_warnings()  # such as the advice to use more data loading workers
# Lightning 2.6 itself uses a class that torch 2.15 deprecates.
warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", module="pytorch_lightning.utilities._pytree")
logging.getLogger(pytorch_lightning.__name__).setLevel(logging.WARNING)  # no tips and no list of devices
# Lightning makes torch look for GPUs through NVML, so that a process can still fork afterwards. If there is no NVML
# library, torch searches for it on every call, and Adam makes one before each update, which doubled its time. The
# variable is not needed: only workers look for GPUs, and they do not fork.
os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)

__all__ = ["Callback", "LightningDataModule", "LightningModule", "Trainer", "fit", "isolate_rng"]


def fit(
    module: LightningModule,
    data: LightningDataModule,
    device: str,
    epochs: int,
    callbacks: list[Callback],
    checkpoints: CheckpointIO,
    checkpoint: Path | None,
) -> None:
    """Train `module` for `epochs` on `device`, "cpu" or "cuda", resuming from `checkpoint` unless it is None."""
    trainer = Trainer(
        accelerator=device,
        devices=1,
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,  # each epoch has its own order, and maybe batch size
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[checkpoints, LightningEnvironment()],  # a single process, even inside a Slurm task
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with flushed_denormals():
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
