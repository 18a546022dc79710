"""One job of a sweep, and the run that it is."""

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from src.config.resolve import resolve, without_hydra
from src.config.settings import KEYS
from src.errors import Reported, UserError, one_line
from src.runs.directory import Run
from src.runs.state import State, read_state


class Failed(JobReturn):
    """Of a job whose failure has been told; Hydra's own would tell it again."""

    @property
    def return_value(self) -> Any:
        raise self._return_value

    @return_value.setter
    def return_value(self, value: Any) -> None:
        self._return_value = value


class Job:
    """A configuration, and the run that it is: None where it is wrong, or another application's than Ravine."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.run: Run | None = None
        self.state: State | None = None
        self.ret: JobReturn | None = None
        self.reason = ""  # of its failure
        self.alone = ""  # why it cannot be trained as one model with others, though it was to be
        self.forced = False
        if set(config) >= KEYS:
            try:
                self._plan()
            except Exception as error:
                self.fail(one_line(error))

    def _plan(self) -> None:
        cfg = without_hydra(self.config)
        resolved = resolve(cfg, self.config.hydra.runtime.choices)
        self.config.data.name = resolved.settings.data  # chosen once, not by each worker
        images = resolved.load()
        self.run = Run(resolved.directory)
        self.state = State(resolved.directory, resolved.settings, resolved.names)
        self.forced = self.run.to_be_cleared(cfg.force)
        if not self.forced:
            self.run.check_data(images.sha256)
        self.refresh()

    @property
    def identity(self) -> object:
        """Equal in jobs that are the same run."""
        return self.run.directory if self.run else self

    @property
    def name(self) -> str:
        return self.state.display_name if self.state else " ".join(self.config.hydra.overrides.task)

    @property
    def result(self) -> JobReturn:
        """What Hydra gets; of a job that was not run, an empty one."""
        return self.ret or self._return(JobReturn(), JobStatus.COMPLETED, {})

    @property
    def failed(self) -> bool:
        return self.ret is not None and self.ret.status == JobStatus.FAILED

    def refresh(self) -> None:
        """See where the run stands on disk. If it has ended, that is the job's result, unless it shall be repeated."""
        if self.run is None or self.state is None:
            return
        seen = read_state(self.run)
        if seen is None or self.forced:
            self.state = State(self.run.directory, self.state.settings, self.state.names)
        elif seen.ended:
            self._finish(seen)
        else:
            self.state = seen if seen.status == "running" else replace(seen, status="to do", error="")

    def begin(self) -> None:
        """A worker is at it."""
        if self.state:
            self.state = replace(self.state, status="running")

    def poll(self) -> None:
        """See how far the worker is; what another training left there is not yet its own."""
        if self.run and (seen := read_state(self.run)) and seen.status == "running":
            self.state = seen

    def take(self, ret: JobReturn) -> None:
        """Take what the worker returned: a result, unless another study has begun to repeat the run meanwhile."""
        if self.run is None:
            self.ret = ret
        elif ret.status == JobStatus.FAILED:
            error = ret._return_value
            self.fail(str(error) if isinstance(error, Reported) else one_line(error))
        elif (seen := read_state(self.run)) and seen.ended:
            self._finish(seen)
        elif seen is None:
            self.fail(f"{self.run.record_file}: was there when the run ended, and cannot be read any more")
        else:
            self.state, self.forced = seen, False

    def keep_alone(self, reason: str, begun: bool) -> None:
        """A group has left it; `begun`, if it was to be repeated and the group has begun that."""
        self.alone = reason
        if begun:
            self.forced = self.config.force = False
        self.refresh()

    def killed(self, reason: str) -> None:
        """Its process died, and could not write why into the record. A failure, unless the run had ended before."""
        if self.run and self.state:
            with (
                suppress(UserError, OSError),
                self.run.locked(),
            ):  # unless another process is at it, or the disk is full
                if not self.run.ended:
                    names, settings = asdict(self.state.names), asdict(self.state.settings)
                    failure = {"status": "failed", "error": reason}
                    self.run.write({"names": names, "settings": settings} | self.run.record() | failure)
            if (seen := read_state(self.run)) and seen.ended and not self.forced:
                return self._finish(seen)
        return self.fail(reason)

    def fail(self, reason: str) -> None:
        self.reason = reason
        self.ret = self._return(Failed(), JobStatus.FAILED, Reported(reason))
        if self.state:
            self.state = replace(self.state, status="failed", error=reason)

    def _finish(self, seen: State) -> None:
        assert self.run is not None
        self.state = seen
        self.ret = self._return(JobReturn(), JobStatus.COMPLETED, dict(self.run.record()["figures"]))

    def _return(self, ret: JobReturn, status: JobStatus, value: object) -> JobReturn:
        ret.overrides, ret.task_name = list(self.config.hydra.overrides.task), self.config.hydra.job.name
        ret.status, ret.return_value = status, value
        return ret
