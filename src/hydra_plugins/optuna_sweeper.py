"""`hydra/sweeper=optuna`: Optuna chooses trials by the results of earlier ones; any launcher runs them in batches."""

# Every Hydra application imports this file at its start, so slow imports and those of `src` are deferred.
import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import BaseTrial

    from src.config.resolve import Resolved
    from src.runs.directory import Run
    from src.sweep.optuna_study import Space

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {
    "validation_loss": "minimize",
    "validation_accuracy": "maximize",
    "train_loss": "minimize",
}


class OptunaSweeper(Sweeper):
    """Searches the space of the swept overrides until the study has `n_trials` trials. Raises HydraException."""

    def __init__(
        self, objective: str, n_trials: int, n_jobs: int, seed: int, params: Mapping[str, object] | None = None
    ) -> None:
        self.params = [f"{key}={value}" for key, value in (params or {}).items()]  # of a named study
        self.objective, self.n_trials, self.n_jobs, self.seed = objective, n_trials, n_jobs, seed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra passes before `sweep`."""
        from src.config.overrides import check_launcher

        check_launcher(config)
        self.cfg, self.loader = config, hydra_context.config_loader
        self.launch = (
            Plugins.instance()
            .instantiate_launcher(hydra_context=hydra_context, task_function=task_function, config=config)
            .launch
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the missing trials of the study; at the end, raise the error of the first failed run."""
        self._check()
        try:
            import optuna
        except ImportError:
            raise HydraException("hydra/sweeper=optuna: is not installed; pip install -e '.[optuna]'") from None
        from src.sweep.optuna_study import Search, distribution, journal

        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides([*self.params, *arguments])
        overrides = {override.get_key_element(): override for override in parsed}.values()  # the last one counts
        self.fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        swept = [override for override in overrides if override.is_sweep_override()]
        space = {override.get_key_element(): distribution(override) for override in swept}
        if not space:
            raise HydraException("hydra/sweeper=optuna: has nothing to search; try 'lr=tag(log,interval(1e-4,1e-1))'")
        corners = self._corners(space)
        name = self._name(space, corners)
        file = Path(self.cfg.hydra.sweep.dir, "optuna", f"{name}.log")
        failed = None
        with journal(file) as storage:
            direction = DIRECTIONS[self.objective]
            study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
            self._check_data(study, file, corners)
            search = Search(study, space, self.n_trials, self.seed)
            while batch := search.next(self.n_jobs):
                newly = self._run(study, batch)
                failed = failed or newly
            self._show(study)
        if failed:
            _ = failed.return_value  # raises the error of the run

    def _check(self) -> None:
        if self.cfg.dry_run:
            raise HydraException(
                "dry_run=true: a search chooses trials as it runs, so none can be listed; leave it out"
            )
        if self.cfg.get("together") is not None:
            raise HydraException("together: applies to a grid, not to a search; leave it out")
        if self.objective not in DIRECTIONS:
            why = "would choose on the test set" if str(self.objective).startswith("test") else "is not an objective"
            raise HydraException(
                f"hydra.sweeper.objective={self.objective}: {why}; choose one of: {', '.join(DIRECTIONS)}"
            )
        for key, least in (("n_trials", 1), ("n_jobs", 1), ("seed", 0)):
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise HydraException(f"hydra.sweeper.{key}={value}: must be a whole number, {least} or more")

    def _resolve(self, job: list[str]) -> "Resolved":
        from src.config.resolve import resolve

        config = self.loader.load_sweep_config(self.cfg, job)
        return resolve(config, config.hydra.runtime.choices)

    @property
    def _has_data(self) -> bool:
        """True if trials run on this machine; one that submits them to a cluster may lack the data."""
        return bool(self.cfg.hydra.runtime.choices["hydra/launcher"] == "local")

    def _corners(self, space: "Space") -> "list[Resolved]":
        """Return the runs at the corners of the space, which together have every choice and both ends of ranges."""
        from src.sweep.optuna_study import corners

        found = []
        for corner in corners(space):
            found.append(self._resolve([*self.fixed, *(f"{key}={corner[key]}" for key in corner)]))
            if self._has_data:
                found[-1].load()  # a search with no data would fail trial by trial
        if self.objective.startswith("validation") and any(each.settings.validation == 0 for each in found):
            raise HydraException(f"{self.objective}: no images are held out for it; try data.validation=5000")
        return found

    def _check_data(self, study: "Study", file: Path, corners: "Sequence[Resolved]") -> None:
        """Raise an error if the trials to come would be of other data files than those of the study in `file`."""
        from optuna.trial import TrialState

        from src.sweep.optuna_study import changed_data

        if not self._has_data:
            return
        now = {(each.settings.data, each.load().sha256) for each in corners}
        completed = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        records = (self._run_of(trial).record() for trial in completed)
        before = ((record["settings"]["data"], record["data"]["sha256"]) for record in records if "data" in record)
        if names := changed_data(study, now, before):
            own = any(each.source for each in corners if each.settings.data in names)
            other = ", or give the data another data.name=" if own else ""
            raise HydraException(
                f"{file}: its trials were trained on other files of data={', '.join(names)} than the current ones; put "
                "the earlier files back, or remove this file to search anew, with force=true, which trains its runs "
                f"again{other}"
            )

    def _name(self, space: "Space", corners: "Sequence[Resolved]") -> str:
        """Return the study's name: the data, the searched keys, and a hash of all that can change the result."""
        from optuna.distributions import distribution_to_json

        digests = sorted({each.settings.digest for each in corners})
        ranges = {key: distribution_to_json(values) for key, values in space.items()}
        identity = json.dumps([digests, ranges, self.objective, self.seed], sort_keys=True)
        keys = (key.strip("+").replace("/", ".") for key in space)
        return "-".join([corners[0].settings.data, *keys, hashlib.sha256(identity.encode()).hexdigest()[:8]])

    def _overrides(self, trial: "BaseTrial") -> tuple[str, ...]:
        return (*self.fixed, *(f"{key}={value}" for key, value in trial.params.items()))

    def _run_of(self, trial: "BaseTrial") -> "Run":
        from src.runs.directory import Run

        return Run(self._resolve(list(self._overrides(trial))).directory)

    def _run(self, study: "Study", batch: "list[BaseTrial]") -> JobReturn | None:
        """Run a batch with the launcher and report it to the study. Return the first failed run."""
        from optuna.trial import TrialState

        jobs = list(dict.fromkeys(self._overrides(trial) for trial in batch))  # equal trials are one run
        returns = self.launch([list(job) for job in jobs], initial_job_idx=batch[0].number)
        returned = dict(zip(jobs, returns, strict=True))
        worst = math.inf if DIRECTIONS[self.objective] == "minimize" else -math.inf
        failed = None
        for trial in batch:
            ret = returned[self._overrides(trial)]
            if ret.status == JobStatus.COMPLETED:
                figures = ret.return_value
                figure = figures[self.objective]  # None: not finite
                # A diverged run may have finite figures, by which the sampler and the user must not choose it.
                lost = figure is None or figures.get("status") == "diverged"
                study.tell(trial.number, worst if lost else figure)
            else:
                study.tell(trial.number, state=TrialState.FAIL)
                failed = failed or ret
        return failed

    def _show(self, study: "Study") -> None:
        """Print the best trial, and the command that trains it."""
        values = [(trial.value, trial) for trial in study.get_trials(deepcopy=False) if trial.value is not None]
        finite = [(value, trial) for value, trial in values if math.isfinite(value)]
        ranked = sorted(finite, key=itemgetter(0), reverse=DIRECTIONS[self.objective] == "maximize")
        n, diverged = len(values), len(values) - len(finite)
        # Earlier versions told Optuna a diverged run's finite figure.
        while ranked and self._run_of(ranked[0][1]).record().get("status") == "diverged":
            ranked, diverged = ranked[1:], diverged + 1
        lost = f", {diverged} of {n} diverged" if diverged else ""
        print(f"search {study.study_name}: {n} trial{'s' * (n != 1)}{lost}")
        if not ranked:
            why = (
                "every trial diverged; search lower learning rates" if n else f"no trial has a finite {self.objective}"
            )
            print(f"none can be recommended: {why}")
            return
        value, best = ranked[0]
        print(f"best: trial {best.number}, {self.objective} {value:.4f}")
        print(f"{self.cfg.hydra.help.app_name} {shlex.join(self._overrides(best))}")
