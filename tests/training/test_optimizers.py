"""Public optimizers beside plain loops written as their READMEs say: LeNet, three epochs of images, every update."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from src.config.settings import Settings
from src.generators import seed_all
from src.native.build import without_native_code
from src.range_test.losses import losses_of
from src.training.datamodule import epoch_seed, minibatches
from src.training.denormals import flushed_denormals
from src.training.trainer import Training
from tests.helpers.commands import ROOT
from tests.helpers.runs import assert_same
from tests.training.test_oracle import PlainLeNet
from tests.training.test_own_state import IMAGES, Killed, train

EPOCHS, SEED, BATCH = 3, 3, 32
LENET = {"_target_": "src.models.LeNet"}
CONSTANT = {"_target_": "src.schedules.Schedule"}
TORCHS = (
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "NAdam", "RAdam", "RMSprop",
    "Rprop", "SGD",
)  # fmt: skip
PACKAGED = (
    "AdaBelief", "AdaBound", "AdaHessian", "AdaMod", "AdaPNM", "Adan", "ADOPT", "AdEMAMix", "DAdaptAdam", "DiffGrad",
    "Lamb", "LARS", "Lion", "MADGRAD", "NovoGrad", "Prodigy", "QHAdam", "Ranger", "ScheduleFreeAdamW", "SOAP", "Yogi",
)  # fmt: skip
USUAL = ("preset muon", "preset sam", "preset lookahead", "preset schedule_free", "preset soap", "package AdaHessian")
PRESETS = sorted(file.stem for file in (ROOT / "conf" / "optimizer").glob("*.yaml"))
LRS = {"Adadelta": 1.0, "Prodigy": 1.0, "DAdaptAdam": 1.0, "LBFGS": 1.0, "LARS": 0.1, "AdaHessian": 0.05}

OPTIONS: dict[str, dict[str, Any]] = {"LBFGS": {"line_search_fn": "strong_wolfe"}}


def preset(name: str) -> tuple[float, dict[str, Any]]:
    """Return the lr and the node of an optimizer in conf/."""
    found: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "optimizer" / f"{name}.yaml"))
    return float(found["lr"]), found["optimizer"]


NODES: dict[str, tuple[float, dict[str, Any]]] = {
    **{
        f"torch {name}": (LRS.get(name, 0.003), {"_target_": f"torch.optim.{name}", **OPTIONS.get(name, {})})
        for name in TORCHS
    },
    **{f"package {name}": (LRS.get(name, 0.003), {"_target_": f"pytorch_optimizer.{name}"}) for name in PACKAGED},
    **{f"preset {name}": preset(name) for name in PRESETS},
}


def as_its_readme_says(name: str, node: dict[str, Any], lr: float, model: nn.Module) -> Optimizer:
    """Return the optimizer as a user would write it."""
    import pytorch_optimizer

    parameters = model.parameters()
    given = {key: value for key, value in node.items() if key != "_target_"}
    if name == "preset sam":
        return pytorch_optimizer.SAM(parameters, torch.optim.SGD, rho=0.05, lr=lr, momentum=0.9)
    if name == "preset prodigy":
        return pytorch_optimizer.Prodigy(parameters, lr=lr, betas=(0.9, 0.999), d0=1e-5)
    if name == "preset lookahead":
        return pytorch_optimizer.Lookahead(torch.optim.SGD(parameters, lr=lr, momentum=0.9), k=5, alpha=0.5)
    package, _, cls = node["_target_"].rpartition(".")
    return getattr({"torch.optim": torch.optim, "pytorch_optimizer": pytorch_optimizer}[package], cls)(
        parameters, lr=lr, **given
    )


def muon(model: nn.Module, lr: float) -> list[Optimizer]:
    """Return Muon for the hidden matrices, and AdamW for the rest."""
    hidden = [p for name, p in model.named_parameters() if name in ("linear1.weight", "linear2.weight")]
    rest = [p for p in model.parameters() if all(p is not each for each in hidden)]
    return [
        torch.optim.Muon(hidden, lr=lr, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=0.05 * lr, weight_decay=0.0),
    ]


def set_mode(optimizers: list[Optimizer], mode: str) -> None:
    """Call `train` or `eval` of those that have it."""
    for each in optimizers:
        if hasattr(each, mode):
            getattr(each, mode)()


def loop(name: str, lr: float, node: dict[str, Any]) -> tuple[nn.Module, float]:
    """Train in plain torch; return the network and its loss on the test images."""
    seed_all(SEED)
    model = PlainLeNet()
    optimizers = muon(model, lr) if name == "preset muon" else [as_its_readme_says(name, node, lr, model)]
    (images, labels), (test_images, test_labels) = (
        (torch.from_numpy(x).float().div(255).sub(0.5).div(0.5), torch.from_numpy(y).long())
        for x, y in ((IMAGES.train_images, IMAGES.train_labels), (IMAGES.test_images, IMAGES.test_labels))
    )
    for epoch in range(EPOCHS):
        seed_all(epoch_seed(SEED, epoch))
        set_mode(optimizers, "train")
        for indices in minibatches(SEED, epoch, BATCH, len(labels)):

            def closure(some: Tensor = indices) -> Tensor:
                for each in optimizers:
                    each.zero_grad()
                loss = cross_entropy(model(images[some]), labels[some])
                loss.backward(create_graph=name == "package AdaHessian")
                return loss

            if name in ("torch LBFGS", "preset sam"):
                (optimizer,) = optimizers
                if name == "preset sam":
                    closure()
                optimizer.step(closure)  # type: ignore[arg-type]
                continue
            closure()
            for each in optimizers:
                each.step()
        set_mode(optimizers, "eval")
    with torch.no_grad():
        return model, cross_entropy(model(test_images), test_labels).item()


def settings(lr: float, node: dict[str, Any]) -> Settings:
    return Settings("mine", 0, "half", LENET, node, CONSTANT, lr, BATCH, EPOCHS, SEED)


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize(
    ("name", "lr", "node"),
    [
        pytest.param(name, *each, id=name, marks=[] if name in USUAL else [pytest.mark.long])
        for name, each in NODES.items()
    ],
)
def test_a_run_is_the_loop_of_the_readme_and_resumes(
    name: str, lr: float, node: dict[str, Any], tmp_path: Path
) -> None:
    with without_native_code():  # so that the gradients are the loop's, bit for bit
        plain = train(tmp_path / "plain", settings(lr, node))
    with flushed_denormals():  # as in training: eigenvectors and line searches depend on the last bits
        model, loss = loop(name, lr, node)
    weights = torch.load(plain.checkpoint, weights_only=True)["state_dict"]
    assert plain.record()["figures"]["test_loss"] == pytest.approx(loss, rel=1e-4)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(weights[f"model.{key}"], value, rtol=1e-4, atol=1e-5, msg=key)
    alone = train(tmp_path / "alone", settings(lr, node))
    with pytest.raises(Killed):
        train(tmp_path / "killed", settings(lr, node), 2)
    assert_same(alone.directory, train(tmp_path / "killed", settings(lr, node)).directory)
    losses = losses_of(settings(lr, node), IMAGES, np.geomspace(lr / 100, lr, 4), "cpu")
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    if "LBFGS" not in name:
        Training(settings(lr, node), IMAGES, "cpu", probe=True)
