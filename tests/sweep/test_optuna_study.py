"""The journal of a search, left by a crashed machine or held by another process."""

from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from src.errors import UserError
from src.sweep.optuna_study import Search, Space, changed_data, distribution, journal

SPACE: Space = {
    "lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer": optuna.distributions.CategoricalDistribution(["adam", "sgd"]),
}


def test_a_partial_last_line_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    with journal(file) as storage:
        optuna.create_study(storage=storage, study_name="a").ask({**SPACE})
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":4,"wor')
    with journal(file) as storage:
        study = optuna.load_study(storage=storage, study_name="a")
        study.ask({**SPACE})
        assert len(study.get_trials()) == 2
    assert file.read_bytes().startswith(whole)


def test_two_processes_do_not_share_one_search(tmp_path: Path) -> None:
    with (
        journal(tmp_path / "a.log"),
        pytest.raises(UserError, match=r"a\.log: another process is running this search"),
        journal(tmp_path / "a.log"),
    ):
        pass
    with journal(tmp_path / "a.log"):
        pass


def test_a_trial_killed_before_its_values_were_written_fails_and_is_repeated(tmp_path: Path) -> None:
    with journal(tmp_path / "a.log") as storage:
        study = optuna.create_study(storage=storage, study_name="a")
        lr = study.ask({"lr": SPACE["lr"]}).params["lr"]
        (trial,) = Search(study, SPACE, n_trials=1, seed=0).next(2)
        assert trial.params["lr"] == lr
        assert trial.params.keys() == SPACE.keys()
        study.tell(trial.number, 1.0)
        assert Search(study, SPACE, n_trials=1, seed=0).next(2) == []
        assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL, TrialState.COMPLETE]


def test_no_seed_is_used_twice(tmp_path: Path) -> None:
    with journal(tmp_path / "a.log") as storage:
        study = optuna.create_study(storage=storage, study_name="a")
        for n_trials in (1, 2, 3):  # a new process each
            for trial in Search(study, SPACE, n_trials, seed=0).next(1):
                study.tell(trial.number, 1.0)
        assert len({trial.params["lr"] for trial in study.get_trials()}) == 3


def test_a_study_keeps_its_data() -> None:
    study = optuna.create_study()
    digits, mnist, other = ("digits", "d"), ("mnist", "m"), ("mnist", "o")
    assert changed_data(study, {digits, mnist}, []) == []
    for _ in range(2):
        assert changed_data(study, {digits, other}, []) == ["mnist"]
        assert changed_data(study, {digits, mnist, other}, []) == ["mnist"]
        assert changed_data(study, {digits, mnist}, [other]) == []  # a run that was trained again since


def test_a_study_of_an_earlier_version_takes_the_data_of_its_runs() -> None:
    study = optuna.create_study()
    mnist, other = ("mnist", "m"), ("mnist", "o")
    assert changed_data(study, {mnist}, [mnist, other]) == ["mnist"]  # trials of both
    assert changed_data(study, {other}, [mnist]) == ["mnist"]
    assert changed_data(study, {mnist, ("digits", "d")}, [mnist]) == []
    assert changed_data(study, {other, ("digits", "d")}, []) == ["mnist"]


@pytest.mark.parametrize(
    ("span", "low", "high", "step"),
    [("7,1,-2", 3, 7, 2), ("0,10**9,3".replace("10**9", str(10**9)), 0, 10**9 - 1, 3), ("0.1,0.5,0.1", 0.1, 0.4, 0.1)],
)
def test_a_range_becomes_a_distribution(span: str, low: float, high: float, step: float) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"seed=range({span})"])
    found = distribution(override)
    assert isinstance(found, optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution)
    assert (found.low, found.high, found.step) == (low, high, step)
