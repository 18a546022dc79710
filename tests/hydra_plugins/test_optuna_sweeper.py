"""Optuna searches: trials, resuming after a kill, failed runs, and errors."""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from src.config.settings import CONF
from src.hydra_plugins.optuna_sweeper import OptunaSweeper
from src.sweep.optuna_study import Space
from tests.helpers.commands import ROOT, Command, Start, environment, own_choice
from tests.helpers.runs import the_run

OPTUNA = ("-m", "hydra/sweeper=optuna", "model=mlp", "data.validation=60")
LR = "lr=tag(log, interval(1e-4, 1e-1))"


def trials(outputs: Path) -> list[FrozenTrial]:
    """Return the trials of the only study under an output directory."""
    (file,) = (outputs / "optuna").glob("*.log")
    storage = JournalStorage(JournalFileBackend(str(file)))
    return optuna.load_study(study_name=None, storage=storage).get_trials()


def test_a_search_runs_its_trials_and_names_the_best(train: Command, outputs: Path) -> None:
    space = (LR, "optimizer=sgd,adam", "batch_size=range(16,65,16)", "model.hidden=[8,8,8],[16,16,16]")
    command = (*OPTUNA, *space, "epochs=1", "hydra.sweeper.n_jobs=2")
    ended = train(*command, "hydra.sweeper.n_trials=3")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    found = trials(outputs)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 3
    for trial in found:
        assert 1e-4 <= trial.params["lr"] <= 1e-1
        assert trial.params["optimizer"] in ("sgd", "adam")
        assert trial.params["batch_size"] in (16, 32, 48, 64)
        assert trial.params["model.hidden"] in ("[8,8,8]", "[16,16,16]")
    records = [json.loads(file.read_text()) for file in outputs.rglob("run.json")]
    by_lr = {record["settings"]["lr"]: record["figures"]["validation_loss"] for record in records}
    assert {trial.params["lr"]: trial.value for trial in found} == by_lr

    best = min(found, key=lambda trial: trial.value or math.inf)
    *_, count, said, again = ended.stdout.splitlines()
    assert count.startswith("search mnist-lr-optimizer-batch_size-model.hidden-")
    assert count.endswith(": 3 trials")
    assert said == f"best: trial {best.number}, validation_loss {best.value:.4f}"
    python, *words = shlex.split(again)
    assert python == "python"
    assert f"lr={best.params['lr']}" in words
    shown = train(*words[2:])
    assert "Trained already" in shown.stdout
    assert f"{best.value:.4f}" in shown.stdout

    more = train(*command, "hydra.sweeper.n_trials=4")
    assert more.returncode == 0, more.stderr
    assert [trial.params for trial in trials(outputs)][:3] == [trial.params for trial in found]
    assert len(trials(outputs)) == 4
    assert train(*command, "hydra.sweeper.n_trials=4").stdout.startswith("search")  # which trains nothing


def test_a_killed_search_equals_an_uninterrupted_one(
    train: Command, start_train: Start, small_mnist: Path, tmp_path: Path
) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    command = (*OPTUNA, LR, "epochs=30", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    assert train(*command, f"output_dir={alone}").returncode == 0
    for runs in (2, 3):  # in the first batch, and in the second
        process = start_train(killed, small_mnist, *command)
        while len(list(killed.rglob("last.ckpt"))) < runs:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert TrialState.RUNNING in [each.state for each in trials(killed)]
    ended = train(*command, f"output_dir={killed}")
    assert ended.returncode == 0, ended.stderr
    assert [trial.state for trial in trials(killed)] == [TrialState.COMPLETE] * 4
    one, other = ([(trial.params, trial.value) for trial in trials(output)] for output in (alone, killed))
    assert one == other
    sessions = [len(json.loads(file.read_text())["sessions"]) for file in killed.rglob("run.json")]
    assert len(sessions) == 4
    assert sum(sessions) > 4  # interrupted runs resumed from their checkpoints


def test_a_failed_run_is_a_failed_trial_and_repeated_by_the_same_command(
    train: Command, outputs: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(
        "import os\n"
        "from src.models import MLP\n"
        "class Net(MLP):\n"
        "    def forward(self, images):\n"
        "        assert 'BROKEN' not in os.environ, 'broken on purpose'\n"
        "        return super().forward(images)\n"
    )
    command = (*OPTUNA, LR, "model._target_=broken.Net", "epochs=1", "hydra.sweeper.n_trials=2")
    failed = train(*command, PYTHONPATH=str(tmp_path), BROKEN="1")
    assert failed.returncode == 1
    assert failed.stderr.count("broken on purpose") == 2  # the search continues with the next trial
    assert "Traceback" not in failed.stderr
    assert "no trial has a finite validation_loss" in failed.stdout
    first = trials(outputs)
    assert [trial.state for trial in first] == [TrialState.FAIL] * 2
    assert train(*command, PYTHONPATH=str(tmp_path)).returncode == 0
    states = [trial.state for trial in trials(outputs)]
    assert states == [TrialState.FAIL] * 2 + [TrialState.COMPLETE] * 2
    assert [trial.params for trial in trials(outputs)][2:] == [trial.params for trial in first]


def test_a_diverged_run_is_the_worst(train: Command, outputs: Path) -> None:
    ended = train(*OPTUNA, "optimizer=sgd", "lr=1e9,0.05", "epochs=1", "hydra.sweeper.n_trials=4")
    assert ended.returncode == 0, ended.stderr
    values = {trial.params["lr"]: trial.value for trial in trials(outputs)}
    assert values["1000000000.0"] == math.inf
    assert ended.stdout.splitlines()[-1].endswith("lr=0.05")


def test_equal_trials_in_a_batch_are_one_run(train: Command, outputs: Path) -> None:
    ended = train(*OPTUNA, "lr=0.01,0.02", "epochs=1", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=6")
    assert ended.returncode == 0, ended.stderr
    assert "Trained already" not in ended.stdout
    assert len(trials(outputs)) == 6


def test_a_named_study_can_be_a_space(train: Command, outputs: Path) -> None:
    named = ("+study=smoke", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "data.validation=200", "epochs=1")
    ended = train(*named, "model=mlp", "hydra.sweeper.objective=validation_accuracy")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-3].endswith(": 1 trial")
    (trial,) = trials(outputs)
    assert set(trial.params) == {"optimizer"}
    assert trial.value == json.loads((the_run(outputs) / "run.json").read_text())["figures"]["validation_accuracy"]


def test_another_space_is_another_study(train: Command, outputs: Path) -> None:
    for other in ("lr=0.01,0.02", "lr=0.01,0.03", "lr=0.02,0.01"):
        ended = train(*OPTUNA, other, "epochs=1", "hydra.sweeper.n_trials=1")
        assert ended.returncode == 0, ended.stderr
    assert len(list((outputs / "optuna").glob("*.log"))) == 2
    assert train(*OPTUNA, "lr=0.01,0.02", "epochs=2", "hydra.sweeper.n_trials=1").returncode == 0
    assert len(list((outputs / "optuna").glob("*.log"))) == 3


def study_name(conf: Path, space: Space) -> str:
    """Return the name of the study of a search over `space`; `conf` holds user-defined choices."""
    sweeper = OptunaSweeper("validation_loss", n_trials=1, n_jobs=1, seed=0)
    with initialize_config_dir(CONF, version_base="1.3"):
        sweeper.loader = GlobalHydra.instance().config_loader()
        found = [f"hydra.searchpath=[file://{conf}]"]
        sweeper.cfg = sweeper.loader.load_configuration("config", found, RunMode.MULTIRUN)
        sweeper.fixed = ["data=digits", "data.validation=60"]
        return sweeper._name(space)


@pytest.mark.parametrize("group", ["optimizer", "model"])
def test_an_edited_choice_begins_another_study(group: str, tmp_path: Path) -> None:
    first, edited = {
        "optimizer": ("_target_: torch.optim.SGD\n", "_target_: torch.optim.SGD\nmomentum: 0.9\n"),
        "model": ("_target_: src.models.MLP\nhidden: [8, 8, 8]\n", "_target_: src.models.MLP\nhidden: [8, 8, 9]\n"),
    }[group]
    choices = [*{"optimizer": ["adam", "sgd"], "model": ["lenet", "mlp"]}[group], "z_mine"]  # the last of the corners
    space: Space = {
        group: CategoricalDistribution(choices),
        "batch_size": IntDistribution(16, 64),
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
    }
    own_choice(tmp_path, f"{group}/z_mine", first)
    before = study_name(tmp_path / "conf", space)
    assert study_name(tmp_path / "conf", space) == before
    own_choice(tmp_path, f"{group}/z_mine", edited)
    assert study_name(tmp_path / "conf", space) != before


def test_without_optuna_it_says_what_to_install(train: Command, tmp_path: Path) -> None:
    (tmp_path / "optuna.py").write_text("raise ImportError\n")
    ended = train(*OPTUNA, "lr=0.1,0.2", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr == "hydra/sweeper=optuna: is not installed; pip install -e '.[optuna]'\n"


def test_other_commands_do_not_import_optuna() -> None:
    script = "import sys, src.train, hydra_plugins.optuna_sweeper; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(ROOT)).returncode == 0
