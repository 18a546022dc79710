"""A search on disk: an Optuna study that resumes after a kill as if it had not been interrupted."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import BaseTrial, TrialState

from src.config.combinations import length
from src.errors import UserError, flat
from src.files import irregular

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
Space = dict[str, Distribution]  # by the key of the override
DataFiles = tuple[str, str]  # name and SHA-256 of a data set
DATA = "data_sha256"  # the study's attribute with its data sets
optuna.logging.set_verbosity(optuna.logging.WARNING)


def distribution(override: Override) -> Distribution:
    """Return the distribution of a sweep override's values. Raises UserError."""
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            if value.tags - {"log"}:
                raise UserError(f"{override.input_line}: an interval can be tagged log, and nothing else")
            assert value.start is not None
            assert value.end is not None
            bounds, step, log = (value.start, value.end), None, "log" in value.tags
        elif isinstance(value, RangeSweep):
            n = length(override.input_line, value)  # maybe 10^9, so only the ends are computed
            if n == 0:
                raise ValueError("it is empty")
            assert value.start is not None
            whole = isinstance(value.range(), range)
            ends = Decimal(value.start), Decimal(value.start) + (n - 1) * Decimal(value.step)
            numbers = sorted(int(end) if whole else float(end) for end in ends)
            bounds, step, log = (numbers[0], numbers[1]), abs(value.step), False
        else:
            return CategoricalDistribution(sorted(set(override.sweep_string_iterator())))
        if all(isinstance(bound, int) for bound in bounds):
            return IntDistribution(int(bounds[0]), int(bounds[1]), log, int(step or 1))
        return FloatDistribution(*bounds, log, step)
    except (ValueError, IndexError, HydraException) as error:  # no values, or values without a logarithm
        raise UserError(f"{override.input_line}: has no values to search ({flat(error)})") from None


def corners(space: Space) -> list[dict[str, str]]:
    """Return points that together cover every choice and both ends of every range."""
    ends = {
        key: values.choices if isinstance(values, CategoricalDistribution) else (values.low, values.high)
        for key, values in space.items()
    }
    n = max(map(len, ends.values()))
    return [{key: str(each[i % len(each)]) for key, each in ends.items()} for i in range(n)]


def changed_data(study: optuna.Study, now: set[DataFiles], before: Iterable[DataFiles]) -> list[str]:
    """Return the names of the data sets whose files are not those of the study's earlier trials. Store them if none is.

    `now`: all data sets of the space. `before`: those that trials of an earlier version, which stored none, used.
    """
    stored = study.user_attrs.get(DATA)
    differing = set(before) - now if stored is None else {(name, sha256) for name, sha256 in stored} ^ now
    if stored is None and not differing:
        study.set_user_attr(DATA, sorted(now))
    return sorted({name for name, _ in differing})


class Search:
    """The trials of a study: `n_trials`, not counting those that failed before this search began.

    Failed trials are repeated, as the same command repeats failed runs of a grid.
    """

    def __init__(self, study: optuna.Study, space: Space, n_trials: int, seed: int) -> None:
        self.study, self.space, self.seed = study, space, seed
        for trial in self._trials(TrialState.RUNNING):
            if trial.params.keys() != space.keys():  # the search was killed while writing them
                study.tell(trial.number, state=TrialState.FAIL)
        failed = self._trials(TrialState.FAIL)
        repeated = {trial.user_attrs.get("repeats") for trial in study.get_trials(deepcopy=False)}
        for trial in failed:
            if trial.number not in repeated:
                study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})
        self.total = n_trials + len(failed)

    def _trials(self, *states: TrialState) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)

    def next(self, n: int) -> list[BaseTrial]:
        """Return up to `n` trials to run: interrupted ones, else new ones; none if all are done."""
        cut_off = self._trials(TrialState.RUNNING)[:n]
        missing = self.total - len(self._trials(TrialState.RUNNING, TrialState.COMPLETE, TrialState.FAIL))
        return [*cut_off] or [self._ask() for _ in range(min(n, missing))]

    def _ask(self) -> BaseTrial:
        # One seed per trial: after a kill, a single sampler would draw the same values again.
        number = len(self._trials(TrialState.RUNNING, TrialState.COMPLETE, TrialState.FAIL))
        seed = random.Random(f"{self.seed} {number}").getrandbits(32)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        return self.study.ask({**self.space})


@contextmanager
def journal(file: Path) -> Iterator[JournalStorage]:
    """Give Optuna's storage in `file`, locked. Raises UserError if another process holds the lock."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if what := irregular(file):
        raise UserError(f"{file}: is {what}, where the search keeps its trials; remove it")
    lock = FileLock(file.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{file}: another process is running this search; wait for it, or end it") from None
    try:
        content = file.read_bytes() if file.exists() else b"\n"
        if not content.endswith(b"\n"):  # the machine died during a write
            file.write_bytes(content[: content.rfind(b"\n") + 1])
        # Optuna's own lock would outlive a killed process by half a minute.
        yield JournalStorage(JournalFileBackend(str(file), lock_obj=lock))  # type: ignore[arg-type]
    finally:
        lock.release()
