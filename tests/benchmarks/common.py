"""A commonly written program: torchvision's dataset, a DataLoader, NCHW, Lightning's automatic optimization.

`python -m tests.benchmarks.common -m optimizer=sgd,adam ...` runs it as a script with Hydra's basic launcher.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.config_store import ConfigStore
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, relu
from torch.optim import SGD, Adagrad, Adam, Optimizer
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

OPTIMIZERS = {
    "sgd": lambda parameters, lr: SGD(parameters, lr=lr, momentum=0.9),
    "adagrad": lambda parameters, lr: Adagrad(parameters, lr=lr),
    "adam": lambda parameters, lr: Adam(parameters, lr=lr),
}


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.linears = nn.Sequential(
            *(nn.Linear(400, 120), nn.ReLU()), *(nn.Linear(120, 84), nn.ReLU()), nn.Linear(84, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = max_pool2d(relu(self.conv1(images)), 2)
        return self.linears(max_pool2d(relu(self.conv2(maps)), 2).flatten(1))


class MLP(nn.Sequential):
    def __init__(self) -> None:
        layers = [module for n, m in ((784, 80), (80, 40), (40, 20)) for module in (nn.Linear(n, m), nn.ReLU())]
        super().__init__(nn.Flatten(), *layers, nn.Linear(20, 10))


MODELS = {"lenet": LeNet, "mlp": MLP}


class Classifier(pl.LightningModule):
    def __init__(self, model: str, optimizer: str, lr: float) -> None:
        super().__init__()
        self.model, self.optimizer, self.lr = MODELS[model](), optimizer, lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        logits = self.model(batch[0])
        loss = cross_entropy(logits, batch[1])
        accuracy = (logits.argmax(1) == batch[1]).float().mean()
        self.log_dict({"train_loss": loss, "train_accuracy": accuracy}, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        logits = self.model(batch[0])
        self.log("test_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Optimizer:
        return OPTIMIZERS[self.optimizer](self.model.parameters(), self.lr)


def loader(train: bool, batch_size: int, workers: int = 0) -> "DataLoader[Any]":
    dataset = MNIST(os.environ["DATA_ROOT"], train, Compose([ToTensor(), Normalize(0.1307, 0.3081)]))
    return DataLoader(dataset, batch_size, shuffle=train, num_workers=workers)


def fit(model: str, optimizer: str, lr: float, batch_size: int, epochs: int, **trainer: Any) -> None:
    classifier = Classifier(model, optimizer, lr)
    with tempfile.TemporaryDirectory() as folder:
        pl.Trainer(
            max_epochs=epochs, default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False,
            **{"accelerator": "cpu"} | trainer,
        ).fit(classifier, loader(True, batch_size), loader(False, batch_size))  # fmt: skip


ConfigStore.instance().store(
    "common", {"model": "lenet", "optimizer": "adam", "lr": 5e-4, "batch_size": 64, "epochs": 1, "threads": 1}
)


@hydra.main(version_base="1.3", config_name="common")
def main(cfg: Any) -> None:
    """Train one run."""
    torch.set_num_threads(cfg.threads)
    fit(cfg.model, cfg.optimizer, cfg.lr, cfg.batch_size, cfg.epochs)


if __name__ == "__main__":
    assert Path(os.environ["DATA_ROOT"], "MNIST", "raw").is_dir()
    main()
