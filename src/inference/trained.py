"""A trained network, loaded from its run."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import ListConfig
from torch import Tensor, nn

from src.config.settings import Settings
from src.errors import UserError
from src.files import Damaged
from src.generators import kept_generators
from src.inference.trust import check_trusted
from src.native.gather import normalised
from src.network import new_model
from src.runs.checkpoint import read
from src.runs.directory import Run
from src.runs.own_code import OwnCode, own_code
from src.runs.own_globals import put_back, variables
from src.runs.record import ENDED
from src.runs.restoring import restore

TOGETHER = 256  # images that `predict` hands to the network at once


class TrainedNetwork(nn.Module):
    """From images as bytes, (B, C, H, W) or (B, H, W), to logits (B, K); it normalises the pixels itself.

    `classes` are the names of the K classes, `record` is the content of the run's `run.json`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, record: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.record = network, record
        data = record["data"]
        self.classes: list[str] = data["classes"]
        self.image_shape: tuple[int, int, int] = tuple(data["shape"])
        for name in ("mean", "std"):  # of each channel
            self.register_buffer(name, torch.tensor(data[name]).view(-1, 1, 1), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() == 3:
            images = images.unsqueeze(1)
        if images.dtype != torch.uint8 or images.shape[1:] != self.image_shape:
            channels, height, width = self.image_shape
            allowed = f"(B, {channels}, {height}, {width})" + (f" or (B, {height}, {width})" if channels == 1 else "")
            raise ValueError(f"images {tuple(images.shape)} of {images.dtype}: must be {allowed}, torch.uint8")
        return self.network(normalised(images, self.mean, self.std))

    @torch.no_grad()
    def predict(self, images: Tensor | NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Return the most probable label (B,) of each image and the probabilities (B, K). Raises ValueError."""
        tensor = torch.as_tensor(images)
        parts = [self(part.to(self.mean.device)).softmax(1) for part in tensor.split(TOGETHER)]
        probabilities = torch.cat(parts) if len(tensor) else torch.empty(0, len(self.classes))
        return probabilities.argmax(1), probabilities


def load_network(directory: Path, trust: bool = False) -> TrainedNetwork:
    """Return the network of the run in a directory, on the CPU. A diverged run gives a warning. Raises UserError.

    With `trust`, the record may name any class.
    """
    run = Run(directory.resolve())
    try:
        record, curve = run.read()
        if not record:
            raise UserError(f"{directory}: is not the directory of a run: it has no run.json")
        settings = Settings(**record["settings"])
        if record["status"] not in ENDED:
            raise UserError(
                f"{directory}: has {len(curve)} of {settings.epochs} epochs; the command that began it resumes it"
            )
        checkpoint = read(run.checkpoint, run.digest)
    except Damaged as error:
        raise UserError(f"{directory}: cannot be loaded: {error}") from error
    if "shape" not in record["data"]:  # of an earlier version
        data: dict[str, Any] = {"shape": [1, 28, 28], "classes": _earlier_names(run)}
        record["data"] |= data | {key: [record["data"][key]] for key in ("mean", "std")}
    if record["status"] == "diverged":
        print(f"{directory}: this run diverged; its predictions are worth nothing", file=sys.stderr)
    shape, classes = tuple(record["data"]["shape"]), len(record["data"]["classes"])
    if not trust:
        check_trusted(settings.model.get("_target_"), directory)
    run.check_code(code := own_code(settings))
    with kept_generators():
        network = new_model(settings, shape, classes)
    if "snapshot" in checkpoint:  # not of an earlier version, or trained in a group
        _restore(checkpoint["snapshot"], network, code, directory)
    _fill(network, {name.removeprefix("model."): each for name, each in checkpoint["state_dict"].items()}, directory)
    return TrainedNetwork(network, record)


def _restore(snapshot: Any, network: nn.Module, code: OwnCode, directory: Path) -> None:
    """Restore the state that `state_dict` lacks. Raises UserError."""
    roots: dict[str, Any] = {"globals": variables(code), "network": network}
    try:
        restore(snapshot, roots)
    except Damaged as error:
        raise UserError(f"{directory}: cannot be loaded: {error}") from error
    put_back(code, roots["globals"])


def _earlier_names(run: Run) -> list[str]:
    """Return the names of ten classes from the configuration of a run, whose record does not hold them."""
    names = run.configured("data.classes")
    known = isinstance(names, ListConfig) and len(names) == 10
    return [str(name) for name in (names if known else range(10))]


def _fill(network: nn.Module, weights: dict[str, Tensor], directory: Path) -> None:
    """Load the weights. Raises UserError that names the first one that does not fit."""
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        found, wanted = (
            tuple(getattr(some[name], "shape", ())) if name in some else None for some in (weights, expected)
        )
        if found != wanted:
            raise UserError(
                f"{directory}: its weights do not fit the network, whose code has changed since: {name} is {found} in "
                f"the checkpoint and {wanted} in the code; None means missing"
            )
        kinds = [getattr(some[name], "dtype", None) for some in (weights, expected)]
        if kinds[0] != kinds[1]:
            raise UserError(f"{directory}: its weights do not fit the network: {name} holds {kinds[0]}, not {kinds[1]}")
    network.load_state_dict(weights)
