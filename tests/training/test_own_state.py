"""Runs with state outside `state_dict` are the same after kills at random epochs, bit for bit."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from src.config.settings import ConfigChoices, Probe, Settings
from src.data.images import Images
from src.errors import UserError
from src.inference.trained import load_network
from src.runs.directory import Run
from src.training.evaluation import figures_on_test
from src.training.trainer import Training, set_up_process
from tests.helpers.images import bars
from tests.helpers.runs import assert_same, run_of

pytestmark = pytest.mark.usefixtures("blank_error_figures")

NAMES = ConfigChoices("mine", "mine", "mine")
EPOCHS = 5
IMAGES = Images(*bars(200, 1), *bars(60, 2))
OWN = "tests.helpers.own_optimizers."
MINE = "tests.helpers.own_networks."
MLP = {"_target_": "src.models.MLP", "hidden": [12]}
# The five that ended with other numbers, and others like them.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{
        name: (MLP, {"_target_": OWN + name})
        for name in (
            "MomentumInAList", "MomentumByParameter", "MeanOfTheLast", "FlatMomentum", "FlatLater", "NumpyNumbers",
            "NoisyGradients", "GlobalNoise", "SAM", "Lookahead", "WeightAverage", "Accumulating", "InAClosure",
            "AnOwnStateDict", "ScheduleFree", "Newton", "NewtonSometimes", "LateTracker", "ByIdentity", "Phases",
            "Constant", "Recent",
            "TensorWithAttributes", "StepInBackward", "Defaults", "BoundMethods", "Spawning", "OnceTheSame", "Sparse",
            "Attributes", "Holders", "Registered", "Strategies", "Polyak", "LineSearch", "KFAC", "OwnBackward",
        )
    },
    **{
        name: ({"_target_": MINE + name}, {"_target_": "torch.optim.SGD", "momentum": 0.9})
        for name in (
            "Counting", "Buffered", "Random", "Normalised", "Lazy", "Tied", "Thawing", "Spectral", "Recurrent",
            "SelfTeaching", "Remembering", "Global", "Growing",
        )
    },
    "LBFGS": (MLP, {"_target_": "torch.optim.LBFGS", "max_iter": 3}),
    "SAM of a network that counts": ({"_target_": MINE + "Counting"}, {"_target_": OWN + "SAM"}),
    "Lookahead of LeNet": ({"_target_": "src.models.LeNet"}, {"_target_": OWN + "Lookahead"}),
}  # fmt: skip


class Killed(Exception):
    pass


def settings(model: dict[str, Any], optimizer: dict[str, Any]) -> Settings:
    cosine = {"_target_": "src.schedules.Cosine"}
    return Settings("mine", 0, "half", model, optimizer, cosine, 0.02, 32, EPOCHS, 3)


def train(
    output: Path, wanted: Settings, kill_in: int | None = None, images: Images = IMAGES, probe: Probe = False
) -> Run:
    """Train in this process; raise Killed at the beginning of an epoch, counted from 0."""
    run = run_of(wanted, output)
    set_up_process(threads=1, cores=1)
    training = Training(wanted, images, "cpu", probe)
    start = training.classifier.on_train_epoch_start

    def kill() -> None:
        if training.classifier.current_epoch == kill_in:
            raise Killed
        start()

    training.classifier.on_train_epoch_start = kill  # type: ignore[method-assign]
    with run.locked():
        training.train_in(run, Console(quiet=True), NAMES)
    return run


# Kinds of which another one is tried, too, and which only `make test-long` tries.
ALSO = {
    "MomentumByParameter", "MeanOfTheLast", "FlatMomentum", "GlobalNoise", "WeightAverage", "AnOwnStateDict", "Newton",
    "Recent", "Defaults", "BoundMethods", "Spawning", "Attributes", "Strategies", "Normalised", "Lazy", "Tied",
    "Spectral", "Recurrent", "SelfTeaching", "LBFGS", "SAM of a network that counts", "Lookahead of LeNet", "Constant",
    "TensorWithAttributes", "OnceTheSame",
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [pytest.param(*case, id=name, marks=[pytest.mark.long] if name in ALSO else []) for name, case in CASES.items()],
)
def test_kills_at_random_epochs_change_nothing(
    model: dict[str, Any], optimizer: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = settings(model, optimizer)
    alone = train(tmp_path / "alone", wanted)
    kills = sorted(random.Random(str(model) + str(optimizer)).sample(range(1, EPOCHS), 2))
    for kill_in in kills:
        with pytest.raises(Killed):
            train(tmp_path / "killed", wanted, kill_in)
    killed = train(tmp_path / "killed", wanted)
    assert len(killed.record()["sessions"]) == 3  # it resumed
    assert_same(alone.directory, killed.directory)
    assert capfd.readouterr().err == ""
    record = killed.record()
    found = figures_on_test(load_network(killed.directory, trust=True).network, IMAGES, record["data"])
    figures = record["figures"]["test_loss"], record["figures"]["test_accuracy"]
    # Hooks keep a run from the native code, and are none of the network's that is loaded.
    hooked = str(optimizer["_target_"]).endswith(("StepInBackward", "KFAC"))
    assert found == (pytest.approx(figures, rel=1e-6) if hooked else figures)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Cyclic", "optimizer.factors (generator)"),
        ("LateCount", "optimizer.counter (count)"),
        ("SharedArrays", "optimizer.head (array)"),
        ("TensorOfAnArray", "optimizer.array (array)"),
        ("Ordered", "optimizer.left (set in an order of its own)"),
        ("Nested", "optimizer (nested too deeply)"),
    ],
)
def test_what_cannot_be_saved_is_named_and_the_run_starts_over(
    name: str, place: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = settings(MLP, {"_target_": OWN + name})
    alone = train(tmp_path / "alone", wanted)
    said = f"cannot be resumed: state in {place}; a run that is killed starts over\n"
    assert capfd.readouterr().err == said
    with pytest.raises(Killed):
        train(tmp_path / "killed", wanted, 3)
    assert capfd.readouterr().err == said
    killed = train(tmp_path / "killed", wanted)
    assert capfd.readouterr().err == f"{killed.directory}: starts over, since it lacks {place}\n{said}"
    assert_same(alone.directory, killed.directory)
    load_network(killed.directory, trust=True)


def test_the_check_of_a_checkpoint_leaves_the_run_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the network that is built for it shares objects with the one that is trained."""
    for name in ("Phases", "Constant", "Registered"):
        wanted = settings(MLP, {"_target_": OWN + name})
        checked = train(tmp_path / "checked", wanted)
        with monkeypatch.context() as patched:
            patched.setattr("src.training.trainer.unsaved_state", lambda *_: [])
            alone = train(tmp_path / "alone", wanted)
        assert_same(alone.directory, checked.directory)


class Unreadable(torch.nn.Linear):
    """A network whose `state_dict` holds an object."""

    def __init__(self) -> None:
        super().__init__(784, 10)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.flatten(1))

    def get_extra_state(self) -> Any:
        return {"mine": Killed()}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_a_checkpoint_that_cannot_be_read_fails_the_run_at_once(tmp_path: Path) -> None:
    wanted = settings({"_target_": f"{__name__}.Unreadable"}, {"_target_": "torch.optim.SGD"})
    with pytest.raises(UserError, match=r"last\.ckpt: state_dict\.model\._extra_state\.mine cannot be read again"):
        train(tmp_path, wanted)
    assert run_of(wanted, tmp_path).record()["status"] == "failed"
