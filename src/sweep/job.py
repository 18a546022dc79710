"""A job of a sweep and its run."""

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Literal

from hydra.core.utils import JobReturn
from hydra.core.utils import JobStatus as HydraStatus
from omegaconf import DictConfig

from src.config.resolve import resolve
from src.config.settings import KEYS, RECIPE
from src.errors import Reported, UserError, one_line
from src.runs.directory import Run
from src.runs.own_code import own_code
from src.runs.state import State, read_state

JobStatus = Literal["waiting", "running", "ended", "failed"]


_buildable: set[str] = set()  # digests of settings that `dry_run` has found possible


class Failed(JobReturn):
    """The result of a job whose failure is already printed. Hydra's own class would print it again."""

    @property
    def return_value(self) -> Any:
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class Job:
    """A configuration and its run, which is None if the configuration is invalid or of another application."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.status: JobStatus = "waiting"
        self.run: Run | None = None
        self.state: State | None = None
        self.reason = ""  # of its failure
        self.why_alone = ""  # why it is not trained in a group
        self.forced = False
        self._figures: dict[str, Any] = {}  # of a run that has ended
        self._returned: JobReturn | None = None  # by another application's job
        if set(config) >= KEYS:
            try:
                self._plan()
            except Exception as error:
                self.fail(one_line(error))

    def _plan(self) -> None:
        cfg = self.config
        resolved = resolve(cfg, self.config.hydra.runtime.choices)
        self.config.data.name = resolved.settings.data  # chosen once, not by each worker
        self.run = Run(resolved.directory)
        self.state = State(resolved.directory, resolved.settings, resolved.names)
        images, code = resolved.load(), own_code(resolved.settings)
        self.state = replace(self.state, data_sha256=images.sha256, code=code.digest)
        self.forced = self.run.to_be_cleared(cfg.force)
        if not self.forced:
            self.run.check_data(images.sha256, images.shape)
            self.run.check_code(code)
        self.refresh()
        # A seed makes no difference to what can be built.
        if cfg.dry_run and not self.over and (alike := replace(resolved.settings, seed=0).digest) not in _buildable:
            from src.training.trainer import Training  # takes seconds to import

            Training(resolved.settings, images, cfg.device, cfg.probe)
            _buildable.add(alike)

    @property
    def identity(self) -> object:
        """A value that is equal for jobs of the same run."""
        return self.run.directory if self.run else self

    @property
    def over(self) -> bool:
        """True if there is nothing left to do."""
        return self.status in ("ended", "failed")

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    @property
    def overrides(self) -> str:
        """The job's overrides, as on the command line."""
        return " ".join(self.config.hydra.overrides.task)

    @property
    def result(self) -> JobReturn:
        """The result for Hydra: the figures of an ended run, or the error of a failed one."""
        if self._returned:
            return self._returned
        ret = Failed() if self.failed else JobReturn()
        ret.overrides, ret.task_name = list(self.config.hydra.overrides.task), self.config.hydra.job.name
        ret.status = HydraStatus.FAILED if self.failed else HydraStatus.COMPLETED
        ret.return_value = Reported(self.reason) if self.failed else self._figures
        return ret

    def refresh(self) -> None:
        """Read the run's state from disk. An ended run ends the job, unless force=true is to repeat it."""
        if self.run is None or self.state is None:
            return
        seen = read_state(self.run)
        if seen is None or self.forced:
            state = self.state
            self.state = State(
                self.run.directory, state.settings, state.names, data_sha256=state.data_sha256, code=state.code
            )
        elif seen.ended:
            self._end(seen)
        else:
            self.state = seen if seen.status == "running" else replace(seen, status="to do", error="")

    def begin(self) -> None:
        """Mark the job as running in a worker."""
        self.status = "running"
        if self.state:
            self.state = replace(self.state, status="running")

    def poll(self) -> None:
        """Read the worker's progress, ignoring what an earlier training left."""
        if self.run and (seen := read_state(self.run)) and seen.status == "running":
            self.state = seen

    def interrupt(self) -> None:
        """Read what is kept of a run that a worker was training."""
        if self.status == "running" and self.run and (seen := read_state(self.run)):
            self.state = seen

    def take(self, ret: JobReturn) -> None:
        """Take the worker's result. The job waits again if another study has started to repeat the run."""
        if self.run is None:
            self._returned = ret
            self.status = "failed" if ret.status == HydraStatus.FAILED else "ended"
        elif ret.status == HydraStatus.FAILED:
            error = ret._return_value
            self.fail(str(error) if isinstance(error, Reported) else one_line(error))
        elif (seen := read_state(self.run)) and seen.ended:
            self._end(seen)
        elif seen is None:
            self.fail(f"{self.run.record_file}: was written when the run ended, but is now missing or damaged")
        else:
            self.status, self.state, self.forced = "waiting", seen, False

    def keep_alone(self, reason: str, begun: bool) -> None:
        """Make the job wait again, to be trained alone. `begun`: its group has already cleared the run."""
        self.status, self.why_alone = "waiting", reason
        if begun:
            self.forced = self.config.force = False
        self.refresh()
        if self.over:  # another study has trained it meanwhile
            self.why_alone = ""

    def killed(self, reason: str) -> None:
        """Fail and record the failure, since the worker died; if the run had ended before, end the job."""
        if self.run and self.state:
            # Another process may be training it by now, or the disk may be full.
            # A worker whose fork server has died may live for an instant longer.
            with suppress(UserError, OSError), self.run.locked(patience=5.0):
                if not self.run.ended:
                    names, settings = asdict(self.state.names), asdict(self.state.settings)
                    failure = {"status": "failed", "error": reason}
                    begun = {"recipe": RECIPE, "names": names, "settings": settings}
                    self.run.write(begun | self.run.record() | failure)
            if (seen := read_state(self.run)) and seen.ended and not self.forced:
                return self._end(seen)
        return self.fail(reason)

    def fail(self, reason: str) -> None:
        """Mark the job as failed for this reason."""
        self.status, self.reason = "failed", reason
        if self.state:
            self.state = replace(self.state, status="failed", error=reason)

    def _end(self, seen: State) -> None:
        assert self.run is not None
        self.status, self.state, self.forced = "ended", seen, False
        record = self.run.record()
        self._figures = record["figures"] | {"status": record["status"]}
