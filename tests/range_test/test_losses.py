"""The losses of a range test, compared with a loop in plain torch."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from src.config.settings import Settings
from src.data.images import Images
from src.range_test.losses import losses_of
from src.range_test.points import Numbers, Points, points
from src.training.datamodule import epoch_seed, minibatches
from src.training.trainer import set_up_process
from tests.helpers.images import bars
from tests.training.test_oracle import BATCH, CONSTANT, DROPPING, MODELS, OPTIMIZERS, SEED, plain_dropout

STEPS = 12  # more than two epochs of 5 minibatches
LRS = np.geomspace(1e-4, 0.5, STEPS)


@pytest.fixture
def torchs_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.native.build.backend", lambda: "torch: switched off")


def losses(model: dict[str, Any], optimizer: dict[str, Any], lrs: Numbers, **others: Any) -> list[float]:
    set_up_process(1, 1)
    settings = Settings("mnist", 0, "half", model, optimizer, CONSTANT, 1.0, BATCH, 1, SEED, **others)
    return losses_of(settings, Images(*bars(300, 1), *bars(80, 2)), lrs, device="cpu")


def plain_minibatches() -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = (torch.from_numpy(array) for array in bars(300, 1))
    for epoch in itertools.count():
        torch.manual_seed(epoch_seed(SEED, epoch))
        for batch in minibatches(SEED, epoch, BATCH, 300):
            yield ((images[batch].float() / 255 - 0.5) / 0.5)[:, None], labels[batch].long()


def plain(model: nn.Module, optimizer: torch.optim.Optimizer, lrs: Numbers) -> list[float]:
    losses = []
    for lr, (images, labels) in zip(lrs.tolist(), plain_minibatches(), strict=False):
        optimizer.param_groups[0]["lr"] = lr
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.usefixtures("torchs_operators")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_losses_equal_those_of_a_plain_loop_bit_for_bit(optimizer: str) -> None:
    ours = losses(MODELS["lenet"][0], OPTIMIZERS[optimizer][0], LRS)
    torch.manual_seed(SEED)
    network = MODELS["lenet"][1]()
    theirs = plain(network, OPTIMIZERS[optimizer][1](network.parameters()), LRS)
    assert ours == theirs[: len(ours)]
    assert len(ours) > 10, "the third epoch is reached"


@pytest.mark.usefixtures("torchs_operators")
def test_dropout_draws_as_in_a_run() -> None:
    torch.manual_seed(SEED)
    network = plain_dropout()
    theirs = plain(network, OPTIMIZERS["adam"][1](network.parameters()), LRS / 10)
    assert losses(DROPPING, OPTIMIZERS["adam"][0], LRS / 10) == theirs


def test_augmentation_changes_the_images_but_not_the_first_parameters() -> None:
    of = [losses(MODELS["mlp"][0], OPTIMIZERS["sgd"][0], LRS, augment=augment) for augment in ("none", "shift")]
    assert of[0] != of[1]
    assert of[1] == losses(MODELS["mlp"][0], OPTIMIZERS["sgd"][0], LRS, augment="shift")


def test_a_loss_that_is_not_finite_ends_the_test() -> None:
    lrs = np.geomspace(1e30, 1e38, 50)
    found = losses(MODELS["mlp"][0], OPTIMIZERS["sgd"][0], lrs)
    assert np.isfinite(found[:-1]).all()
    assert not np.isfinite(found[-1])
    assert len(found) < 4
    of_it = points(lrs, np.array(found))
    assert of_it.seen.startswith("loss does not fall up to lr ")
    assert of_it.seen.endswith(" and is not finite after it")
    assert of_it.diverges == lrs[len(found) - 2]
    found = losses({"_target_": "tests.range_test.networks.NeverFinite"}, OPTIMIZERS["sgd"][0], LRS)
    assert len(found) == 1
    assert points(LRS, np.array(found)) == Points(seen="not finite at the first step")


def test_three_losses_in_a_row_far_above_the_first_end_the_test() -> None:
    lrs = np.geomspace(0.01, 1000, 50)
    found = np.array(losses(MODELS["mlp"][0], OPTIMIZERS["adam"][0], lrs))
    assert len(found) < 50
    assert np.isfinite(found).all()
    high = found > 4 * found[0]
    assert high[-3:].all()
    assert not any(high[i : i + 3].all() for i in range(len(found) - 3))
    assert points(lrs, found).diverges is not None
