"""Optuna searches: trials, resuming after a kill, failed runs, and errors."""

import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from src.config.settings import CONF
from src.hydra_plugins.optuna_sweeper import OptunaSweeper
from src.sweep.optuna_study import Space
from tests.helpers.commands import ROOT, Command, Start, environment, own_choice
from tests.helpers.images import write_npz
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


@pytest.mark.parametrize(("objective", "worst"), [("validation_loss", math.inf), ("validation_accuracy", -math.inf)])
def test_a_diverged_run_is_the_worst(objective: str, worst: float, train: Command, outputs: Path) -> None:
    search = ("optimizer=sgd", "lr=1e9,0.05", "epochs=1", f"hydra.sweeper.objective={objective}")
    ended = train(*OPTUNA, *search, "hydra.sweeper.n_trials=4")
    assert ended.returncode == 0, ended.stderr
    values = {trial.params["lr"]: trial.value for trial in trials(outputs)}
    assert values["1000000000.0"] == worst
    assert ended.stdout.splitlines()[-1].endswith("lr=0.05")


def test_a_diverged_run_is_told_as_the_worst_whatever_its_figures() -> None:
    figures: list[dict[str, object]] = [
        {"validation_accuracy": 0.98, "status": "diverged"},
        {"validation_accuracy": 0.1, "status": "finished"},
        {"validation_accuracy": 0.2},  # of a task that tells no status
        {"validation_accuracy": None, "status": "finished"},
    ]

    def launch(job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        returns = [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]
        for ret, each in zip(returns, figures, strict=True):
            ret.return_value = each
        return returns

    sweeper = OptunaSweeper("validation_accuracy", n_trials=4, n_jobs=4, seed=0)
    sweeper.fixed, sweeper.launch = [], launch
    study = optuna.create_study(direction="maximize")
    space = {"lr": FloatDistribution(0.1, 0.9)}
    assert sweeper._run(study, [study.ask({**space}) for _ in figures]) is None
    assert [trial.value for trial in study.get_trials()] == [-math.inf, 0.1, 0.2, -math.inf]


def test_a_diverged_run_is_not_recommended(train: Command, outputs: Path) -> None:
    accuracy = ("optimizer=sgd", "epochs=1", "hydra.sweeper.objective=validation_accuracy")
    ended = train(*OPTUNA, *accuracy, "lr=1e9,1e-9", "hydra.sweeper.n_trials=4")
    assert ended.returncode == 0, ended.stderr
    *_, count, _, best = ended.stdout.splitlines()
    assert re.fullmatch(r"search .*: 4 trials, [123] of 4 diverged", count)
    assert best.endswith("lr=1e-09")

    (log,) = (outputs / "optuna").glob("*.log")
    assert "[-Infinity]" in log.read_text()
    log.write_text(log.read_text().replace("[-Infinity]", "[0.99]"))  # as earlier versions told it
    again = train(*OPTUNA, *accuracy, "lr=1e9,1e-9", "hydra.sweeper.n_trials=4")
    assert again.stdout.splitlines()[-3:] == ended.stdout.splitlines()[-3:]

    ended = train(*OPTUNA, *accuracy, "lr=1e9,1e10", "hydra.sweeper.n_trials=2")
    assert ended.returncode == 0, ended.stderr
    *_, count, last = ended.stdout.splitlines()
    assert count.endswith(": 2 trials, 2 of 2 diverged")
    assert last == "none can be recommended: every trial diverged; search lower learning rates"


def test_a_search_goes_on_only_with_its_data(train: Command, outputs: Path, tmp_path: Path) -> None:
    file = write_npz(tmp_path / "my.npz")
    first = file.read_bytes()
    with np.load(file) as arrays:
        other = dict(arrays)
    other["x_train"][0, 0, 0] += 1
    command = (*OPTUNA, LR, "data=arrays", f"data.path={file}", "epochs=1")
    assert train(*command, "hydra.sweeper.n_trials=1").returncode == 0
    (log,) = (outputs / "optuna").glob("*.log")
    refused = (
        f"{log}: its trials were trained on other files of data=my than the current ones; put the earlier files back, "
        "or remove this file to search anew, with force=true, which trains its runs again, or give the data another "
        "data.name=\n"
    )

    def of_an_earlier_version() -> None:
        lines = log.read_text().splitlines(keepends=True)
        kept = [line for line in lines if "data_sha256" not in line]
        assert len(kept) == len(lines) - 1
        log.write_text("".join(kept))

    for n_trials in (2, 3):  # with the attribute, and without it
        np.savez(file, **other)
        for force in ("false", "true"):
            ended = train(*command, f"hydra.sweeper.n_trials={n_trials}", f"force={force}")
            assert (ended.returncode, ended.stderr) == (2, refused)
        assert len(trials(outputs)) == n_trials - 1
        file.write_bytes(first)
        ended = train(*command, f"hydra.sweeper.n_trials={n_trials}")
        assert ended.returncode == 0, ended.stderr
        assert len(trials(outputs)) == n_trials
        of_an_earlier_version()
    for run in outputs.rglob("run.json"):
        run.unlink()
    np.savez(file, **other)
    ended = train(*command, "hydra.sweeper.n_trials=3")  # nothing tells the data of the trials
    assert ended.returncode == 0, ended.stderr
    log.unlink()
    ended = train(*command, "hydra.sweeper.n_trials=1", "force=true")
    assert ended.returncode == 0, ended.stderr
    assert len(trials(outputs)) == 1


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
        return sweeper._name(space, sweeper._corners(space))


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
