"""Data, code, kernels and threads that change between two commands, and force=true that fails."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src import generators
from src.config.settings import Settings
from src.data.images import Images
from src.runs.directory import Run
from src.training.evaluation import final_figures
from tests.helpers.commands import Command, own_choice
from tests.helpers.images import bars
from tests.helpers.runs import assert_same, run_of, the_run
from tests.training.test_own_state import MLP, Killed, settings, train

ADAM = {"_target_": "torch.optim.Adam"}


def test_all_global_generators_are_seeded_and_kept() -> None:
    def drawn() -> tuple[Any, ...]:
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    generators.seed_all(2**40 + 3)
    first = drawn()
    generators.seed_all(2**40 + 3)
    with generators.kept_generators():
        assert drawn() == first
        drawn()
    assert drawn() == first
    generators.seed_all(3)
    assert drawn()[1] != first[1]  # not only the lowest 32 bits count


@pytest.mark.parametrize("key", ["kernels", "threads", "device"])
def test_what_changes_bits_is_said_at_resume(key: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wanted = settings(MLP, ADAM)
    with pytest.raises(Killed):
        train(tmp_path, wanted, 2)
    run = run_of(wanted, tmp_path)
    record = run.record()
    now = record["sessions"][0][key]
    record["sessions"][0][key] = 7 if key == "threads" else "another: for a reason"
    run.write(record)
    train(tmp_path, wanted)
    was = {"threads": "7", "kernels": "another"}.get(key, "another: for a reason")
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        f"{run.directory}: resumes with {key} {now} after {was}, so its last bits are those of neither; force=true "
        "trains it anew"
    )
    assert len(run.record()["sessions"]) == 2


def test_a_checkpoint_of_other_data_starts_over_also_without_a_record(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = settings(MLP, ADAM)
    other = Images(*bars(200, 5), *bars(60, 6))
    alone = train(tmp_path / "alone", wanted)
    with pytest.raises(Killed):
        train(tmp_path / "changed", wanted, 2, other)
    run = run_of(wanted, tmp_path / "changed")
    run.record_file.unlink()
    capfd.readouterr()
    train(tmp_path / "changed", wanted)
    assert "last.ckpt.damaged (was trained on other data files than the current ones; the run" in capfd.readouterr().err
    assert_same(alone.directory, run.directory)


SOURCE = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self, width=8):
        super().__init__(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))


class Source:
    def arrays(self):
        import numpy as np
        draw = np.random.default_rng(0)
        labels = np.arange(120) % 10
        images = draw.integers(0, 50, (120, 28, 28)).astype(np.uint8)
        images[np.arange(120), 2 * labels] = 255
        return {"x_train": images[:80], "y_train": labels[:80], "x_test": images[80:], "y_test": labels[80:]}
"""


@pytest.fixture
def own(tmp_path: Path, train: Command) -> Callable[..., Any]:
    """Run a command with a network and data of the user's own, whose source is given first."""
    options = own_choice(tmp_path, "model/mine_net", "_target_: mine_net.Net\nwidth: 8\n")
    own_choice(tmp_path, "data/mine_data", "defaults: [auto]\n_target_: mine_net.Source\n")

    def run(source: str, *arguments: str) -> Any:
        (tmp_path / "mine_net.py").write_text(source)
        words = ("model=mine_net", "data=mine_data", "optimizer=adam", "epochs=2", *options)
        return train(*words, *arguments, PYTHONPATH=str(tmp_path))

    return run


TANH = SOURCE.replace("nn.ReLU()", "nn.Tanh()")


def test_own_code_that_changed_is_refused_and_a_comment_is_not(
    own: Callable[..., Any], outputs: Path, tmp_path: Path
) -> None:
    assert own(SOURCE).returncode == 0
    run = the_run(outputs)
    assert (run / "code" / "mine_net.py").read_text() == SOURCE
    record = json.loads((run / "run.json").read_text())
    assert len(record["sessions"][0]["code"]) == 16
    assert torch.load(run / "last.ckpt", weights_only=True)["code"] == record["sessions"][0]["code"]
    assert own(f"# A comment.\n{SOURCE}").returncode == 0
    refused = own(TANH)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"{run}: was trained by other code than the current mine_net.py; put back what was changed ({run}/code has a "
        "copy), or train it again with force=true\n"
    )
    # More seeds: the new run is trained, the old one is not shown as if it were of this code.
    more = own(TANH, "-m", "seed=0,1")
    assert more.returncode == 1
    assert more.stderr.count("was trained by other code") == 1
    assert own(TANH, "force=true").returncode == 0
    assert own(TANH).returncode == 0
    assert (run / "code" / "mine_net.py").read_text() == TANH


def test_a_run_is_not_resumed_under_other_code(own: Callable[..., Any], outputs: Path) -> None:
    assert own(SOURCE).returncode == 0
    run = the_run(outputs)
    record = json.loads((run / "run.json").read_text())
    del record["figures"], record["ended"]
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    assert "was trained by other code" in own(TANH).stderr
    (run / "run.json").unlink()  # the checkpoint says it, too
    refused = own(TANH)
    assert refused.returncode == 2
    assert "was trained by other code" in refused.stderr
    assert own(SOURCE).returncode == 0


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int | None], Run]:
    """Train anew in this process, and fail at the beginning of an epoch."""
    wanted = settings(MLP, ADAM)

    def again(kill_in: int | None) -> Run:
        stage = Run.locked

        class Staged(Run):
            def locked(self, wait: bool = False, patience: float = 0.3) -> Any:
                from contextlib import contextmanager

                @contextmanager
                def both() -> Iterator[None]:
                    with stage(self, wait):
                        self.stage()
                        yield

                return both()

        monkeypatch.setattr(
            "tests.training.test_own_state.run_of", lambda *_: Staged(run_of(wanted, tmp_path).directory)
        )
        return train(tmp_path, wanted, kill_in)

    train(tmp_path, wanted)
    return again


@pytest.mark.parametrize(("kill_in", "kept"), [(0, True), (1, False), (None, False)])
def test_a_training_that_replaces_another_keeps_it_until_an_epoch_is_written(
    kill_in: int | None, kept: bool, forced: Callable[[int | None], Run], tmp_path: Path
) -> None:
    old = run_of(settings(MLP, ADAM), tmp_path)
    files = {path.name: path.read_bytes() for path in old.directory.iterdir() if path.is_file()}
    old.update(later="the old one")
    if kill_in is None:
        forced(None)
    else:
        with pytest.raises(Killed):
            forced(kill_in)
    assert ("later" in old.record()) is kept
    assert old.ended is (kept or kill_in is None)
    if kept:
        assert old.checkpoint.read_bytes() == files["last.ckpt"]
        assert {path.name for path in old.directory.iterdir() if not path.name.startswith(".")} == files.keys() - {
            ".lock"
        }
    else:
        assert old.record()["status"] == ("finished" if kill_in is None else "failed")
    events = [path for path in old.directory.iterdir() if "tfevents" in path.name]
    assert len(events) == 1


def test_force_keeps_the_finished_run_if_the_first_epoch_fails(own: Callable[..., Any], outputs: Path) -> None:
    assert own(SOURCE).returncode == 0
    before = (the_run(outputs) / "run.json").read_text()
    broken = SOURCE.replace(
        "nn.Linear(width, 10))",
        "nn.Linear(width, 10))\n\n    def forward(self, images):\n"
        "        assert len(images) == 2, 'broken'\n        return super().forward(images)",
    )
    ended = own(broken, "force=true")
    assert ended.returncode == 1
    assert "broken" in ended.stderr
    assert (the_run(outputs) / "run.json").read_text() == before


class Figures:
    """What `final_figures` reads of a classifier."""

    def __init__(self, finite: bool) -> None:
        row = {"epoch": 3, "train_loss": 4.0, "train_accuracy": 1.0, "test_loss": 0.1, "test_accuracy": 1.0}
        self.finite, self.curve = finite, [row | {"updates": 15, "seconds": 1.0, "evaluation_seconds": 0.5}]


@pytest.mark.parametrize(
    ("final", "is_finite", "diverged"),
    [(0.01, True, False), (2.4, True, True), (2.3, True, False), (0.01, False, True)],
)
def test_divergence_is_judged_by_the_trained_network(final: float, is_finite: bool, diverged: bool) -> None:
    classifier: Any = Figures(is_finite)
    figures, found = final_figures(classifier, 2.3, final)
    assert found is diverged
    assert (figures["initial_loss"], figures["final_loss"]) == (2.3, final)


def test_a_network_that_learns_from_few_minibatches_has_not_diverged(tmp_path: Path) -> None:
    """With five minibatches an epoch, the running mean of the only epoch is that of an untrained network and worse."""
    images = Images(*bars(320, 1), *bars(80, 2))
    constant = {"_target_": "src.schedules.Schedule"}
    sgd = {"_target_": "torch.optim.SGD", "momentum": 0.9}
    wanted = Settings("mine", 0, "half", {"_target_": "src.models.MLP", "hidden": []}, sgd, constant, 0.5, 16, 1, 0)
    run = train(tmp_path, wanted, images=images)
    figures = run.record()["figures"]
    assert figures["train_loss"] > figures["initial_loss"] > 10 * figures["final_loss"]
    assert run.record()["status"] == "finished"
    assert figures["test_accuracy"] > 0.95
