"""Each parameter group keeps the ratio of its lr to the run's own."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from src.config.settings import Settings
from src.data.images import Images
from src.range_test.losses import losses_of
from src.training.datamodule import minibatches
from src.training.learning_rates import LearningRates
from tests.helpers.images import bars
from tests.training.test_own_state import IMAGES, train

STEP = {"_target_": "src.schedules.Step", "milestones": [1], "factor": 10}
PLAIN: dict[str, Any] = {"_target_": "tests.helpers.own_networks.Plain"}


class HeadSlower(SGD):
    """The last layer learns at a tenth of the lr, as a fine-tuning recipe has it."""

    def __init__(self, params: Any, lr: float) -> None:
        *body, weight, bias = params
        super().__init__([{"params": body}, {"params": [weight, bias], "lr": lr * 0.1}], lr=lr, momentum=0.9)


class Wrapping(Optimizer):
    """An optimizer of its own for each half of the parameters."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        parameters = self.param_groups[0]["params"]
        self.halves = [SGD(parameters[:2], lr=lr), SGD(parameters[2:], lr=2 * lr)]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure()
        for half in self.halves:
            half.step()


def settings(name: str, epochs: int = 2) -> Settings:
    optimizer = {"_target_": f"{__name__}.{name}"}
    return Settings("mine", 0, "half", PLAIN, optimizer, STEP, 0.1, 32, epochs, 3)


@pytest.mark.parametrize("name", ["HeadSlower", "Wrapping"])
def test_a_plain_loop_gives_the_same_weights(name: str, tmp_path: Path) -> None:
    run = train(tmp_path, settings(name))
    torch.manual_seed(3)
    from tests.helpers.own_networks import Plain

    model = Plain()
    optimizer = globals()[name](model.parameters(), lr=0.1)
    bases = [group for one in getattr(optimizer, "halves", [optimizer]) for group in one.param_groups]
    scheduler = [group["lr"] for group in bases]
    images = torch.from_numpy(IMAGES.train_images).float().div(255).sub(0.5).div(0.5)
    labels = torch.from_numpy(IMAGES.train_labels).long()
    for epoch, factor in enumerate((1.0, 0.1)):
        for group, base in zip(bases, scheduler, strict=True):
            group["lr"] = base * factor
        for indices in minibatches(3, epoch, 32, len(labels)):

            def closure(some: torch.Tensor = indices) -> torch.Tensor:
                model.zero_grad()
                loss = cross_entropy(model(images[some]), labels[some])
                loss.backward()
                return loss

            optimizer.step(closure)
    weights = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    for key, value in model.state_dict().items():
        torch.testing.assert_close(weights[f"model.{key}"], value, rtol=1e-4, atol=1e-6)


def test_the_curve_shows_the_groups_that_differ(tmp_path: Path) -> None:
    run = train(tmp_path, settings("HeadSlower"))
    rows = list(csv.DictReader(io.StringIO(run.curve_file.read_text())))
    assert [(float(row["lr"]), float(row["lr_group2"])) for row in rows] == [
        (0.1, 0.1 * 0.1),
        (pytest.approx(0.01), pytest.approx(0.001)),
    ]


def test_one_group_has_exactly_the_lr() -> None:
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    rates = LearningRates(optimizer, 0.1)
    for lr in (0.1 * (1 / 3), 0.07, 1e-9):
        rates.set(lr)
        assert optimizer.param_groups[0]["lr"] == lr
        assert rates.columns == {"lr": lr}


def test_a_group_that_is_added_later_is_scaled_as_it_was_added() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    rates = LearningRates(optimizer, 0.1)
    rates.set(0.01)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.02})
    rates.set(0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, pytest.approx(0.1)]


def test_a_range_test_scales_all_groups() -> None:
    seen = []

    class Seen(HeadSlower):
        def step(self, closure: Any = None) -> Any:
            seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    globals()["Seen"] = Seen
    import numpy as np

    losses_of(settings("Seen", epochs=2), Images(*bars(64, 1), *bars(20, 2)), np.array([0.1, 0.2, 0.4]), "cpu")
    assert seen == [[lr, pytest.approx(lr / 10)] for lr in (0.1, 0.2, 0.4)]
