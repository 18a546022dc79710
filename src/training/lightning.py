"""Lightning, imported in half the time and set to speak only of what is wrong.

`import pytorch_lightning` imports all of torchmetrics, and so scipy.signal, matplotlib and torchvision, for the
`isinstance` checks of two classes that nothing here uses. Two empty classes serve them; a later `import torchmetrics`
finds the real package. Every module of this project takes Lightning from here.
"""

import logging
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch

if "torchmetrics" in sys.modules:
    import pytorch_lightning
else:
    stand_in = ModuleType("torchmetrics")
    stand_in.Metric = type("Metric", (), {})  # type: ignore[attr-defined]
    stand_in.MetricCollection = type("MetricCollection", (dict,), {})  # type: ignore[attr-defined]
    sys.modules["torchmetrics"] = stand_in
    try:
        import pytorch_lightning
    finally:
        del sys.modules["torchmetrics"]

from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.warnings import disable_possible_user_warnings
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

disable_possible_user_warnings()  # Lightning's advice, such as to take more data loading workers
# Lightning 2.6's own use of a class that torch 2.15 deprecates.
warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", module="pytorch_lightning.utilities._pytree")
logging.getLogger(pytorch_lightning.__name__).setLevel(logging.WARNING)  # no tips, no list of devices
# Lightning has torch look for a GPU by NVML, whose library, where there is none, is searched for each time: by Adam
# before each of its updates, which took it twice as long. What it is for, that a process may fork afterwards, is not
# needed: it is the workers that look, and they do not.
os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)

__all__ = ["Callback", "LightningDataModule", "LightningModule", "Trainer", "fit"]


def fit(
    module: LightningModule,
    data: LightningDataModule,
    device: str,
    epochs: int,
    callbacks: list[Callback],
    checkpoints: CheckpointIO,
    checkpoint: Path | None,
) -> None:
    """Train on `device`, cpu or cuda, from a checkpoint if there is one."""
    trainer = Trainer(
        accelerator=device,
        devices=1,
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,  # each epoch has its own order, and perhaps batch size
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[checkpoints, LightningEnvironment()],  # one process, also as a task of Slurm's
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.set_flush_denormal(True)  # such numbers are slow, and of no use to learning
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    finally:
        torch.set_flush_denormal(False)  # but numpy and matplotlib want them
