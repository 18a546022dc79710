"""Scheduler of a sweep: hands jobs to workers until none is left."""

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from joblib import cpu_count

from src.display.eta import EpochTimes
from src.display.sweep_log import SweepLog
from src.display.sweep_progress import epochs_done
from src.errors import Reported, UserError, one_line
from src.fused.result import GroupResult
from src.interrupts import RESUMES, Interrupted, raise_interrupts
from src.runs.announcements import announced
from src.runs.directory import Run
from src.runs.record import lacks_probe
from src.runs.state import State, read_state
from src.sweep.crew import Crew
from src.sweep.gpus import gpus
from src.sweep.grouping import groups
from src.sweep.job import Job
from src.sweep.queue import Queue
from src.sweep.workers import Died, Task, Worker, start_method

POLL = 0.5  # seconds between two polls of the runs


class SweepScheduler:
    """Starts workers, hands out jobs and collects results. No two jobs have the same run.

    `vectorize`: train compatible runs as one model; "auto" means only on a GPU. Raises UserError.
    """

    def __init__(self, jobs: Sequence[Job], workers: int | None, crew: Crew, vectorize: bool | str = "auto") -> None:
        self.jobs, self.crew = jobs, crew
        self.config = next((job.config for job in jobs if job.state), None)  # None in an application other than Ravine
        self.gpus = gpus() if self.config and self.config.device != "cpu" else []
        self.vectorize = self.config is not None and _vectorize(vectorize, self.gpus)
        self.asked_for = _checked(workers)
        self.workers = self._places(groups=self.vectorize)
        self.alone: set[Job] = set()  # trained alone although runs are vectorized
        self.dry_run = self.config is not None and self.config.dry_run
        self.epoch_times = EpochTimes()
        self.epoch_times.note([*self.states, *self._others()])
        self.log = SweepLog(self.states, self.workers, self.epoch_times, silent=self.config is None)

    @property
    def states(self) -> list[State]:
        return [job.state for job in self.jobs if job.state is not None]

    def _others(self) -> list[State]:
        """Return earlier runs with the same data and model, whose times serve the ETA."""
        known = {state.directory for state in self.states if state.seconds}
        folders = {state.directory.parent for state in self.states}
        others = [file.parent for folder in folders for file in folder.glob("*/run.json") if file.parent not in known]
        return [state for directory in others if (state := read_state(Run(directory)))]

    def preview(self) -> None:
        """Print what `train` would do and how long it would take."""
        self._tell([job for job in self.jobs if job.failed])
        self.log.preview(self.states)

    def train(self, function: TaskFunction, context: HydraContext) -> None:
        """Run all jobs that are not over; with `fail_fast`, only until one fails.

        An exception here, also `Interrupted`, ends the runs in progress; they keep their checkpoints.
        """
        self._tell([job for job in self.jobs if job.failed])
        self._warn_of_missing_probes()
        waiting = [job for job in self.jobs if not job.over]
        in_groups = groups(waiting, self.workers) if self.vectorize else [[job] for job in waiting]
        self.queue = Queue(in_groups, self.epoch_times)
        self.log.begin(self.states, [len(group) for group in in_groups if len(group) > 1])
        if waiting and not self._stopped:
            raise_interrupts()
            announcement = announced(Path(self.config.output_dir), self.states) if self.config else nullcontext()
            try:
                with announcement, self.log.live:
                    self._work_off(function, context)
            except Interrupted as interruption:
                for job in self.jobs:
                    job.interrupt()
                done, total = epochs_done(self.states)
                interruption.hint = f"{done} of {total} epochs {RESUMES}"
                raise

    def _warn_of_missing_probes(self) -> None:
        probe = self.config.probe if self.config else False
        ended = [job.run for job in self.jobs if job.run and job.status == "ended"] if probe else []
        if n := sum(lacks_probe(run.record(), probe) for run in ended):
            runs = "1 finished run was" if n == 1 else f"{n} finished runs were"
            self.log.warn(
                f"{runs} trained without probe={str(probe).lower()}; force=true trains all runs again, with it"
            )

    def print_results(self) -> None:
        """Print the table of results and the failures. Raises Reported if `fail_fast` left jobs undone."""
        for job in self.jobs:
            if not job.over:
                job.refresh()
        without_run = [(job.overrides, job.reason) for job in self.jobs if job.failed and not job.state]
        alone = [job.why_alone for job in self.jobs if job in self.alone]
        self.log.results(self.states, without_run, alone if len(self.jobs) > 1 else [])
        if any(not job.over for job in self.jobs):
            raise Reported("stopped by fail_fast")
        searches = self.config and self.config.hydra.runtime.choices["hydra/sweeper"] != "grid"
        if self.config and not searches and any(job.status == "ended" for job in self.jobs):
            self.log.next_steps(str(self.config.output_dir), list(self.config.hydra.overrides.task))

    @property
    def _stopped(self) -> bool:
        """True if a failure has ended the sweep."""
        return self.config is not None and self.config.fail_fast and any(job.failed for job in self.jobs)

    def _work_off(self, function: TaskFunction, context: HydraContext) -> None:
        start = start_method() if self.config else start_method(imports=())
        busy: dict[Future[bytes], tuple[Worker, list[Job]]] = {}
        try:
            while (self.queue or busy) and not self._stopped:
                in_work = [group for _, group in busy.values()]
                places = self._places(any(len(group) > 1 for group in [*self.queue.groups, *in_work]))
                self.crew.hire(start, places, len(self.queue), self.gpus)  # again, since a group may be split up
                while self.crew.idle and len(busy) < places and (group := self._next()):
                    worker = self.crew.idle.pop()
                    task = Task(function, context, [job.config for job in group], quiet=self.config is not None)
                    busy[worker.submit(task)] = worker, group
                    for job in group:
                        job.begin()
                if self.config and not self.gpus and self.config.threads == 1:
                    idle = 0 if self.queue else min(places, int(cpu_count())) - len(busy)
                    _lend_idle_cores([worker for worker, _ in busy.values()], max(0, idle))
                wait(busy, POLL, FIRST_COMPLETED) if busy else time.sleep(POLL)
                for future in [future for future in busy if future.done()]:
                    worker, group = busy.pop(future)
                    self.crew.idle.append(worker)
                    self._collect(worker, future, group)
                self._show([job for _, group in busy.values() for job in group])
        except BaseException:
            self.crew.end()
            raise
        if busy:
            self.crew.end()

    def _places(self, groups: bool) -> int:
        """Return the number of workers: one per core available to this process by its affinity and cgroup.

        Fewer if runs use several threads; for `groups` on GPUs, one per GPU.
        """
        cores = max(1, int(cpu_count()) // (self.config.threads if self.config else 1))
        return self.asked_for or (len(self.gpus) if groups and self.gpus else cores)

    def _next(self) -> list[Job]:
        group, ended = self.queue.take()
        self._tell(ended)
        if self.vectorize and len(group) == 1:
            self.alone.add(group[0])
            group[0].why_alone = group[0].why_alone or "no other run to train is compatible with it"
        return group

    def _collect(self, worker: Worker, future: "Future[bytes]", group: Sequence[Job]) -> None:
        try:
            ret, stderr = worker.result(future)
        except Exception as error:  # Died, or the job called sys.exit, or its result cannot be pickled
            reason = str(error) if isinstance(error, Died) else one_line(error)
            for job in group:
                if len(group) == 1:
                    job.killed(reason)
                else:
                    job.keep_alone(f"its group failed: {reason}", begun=False)
        else:
            if len(group) == 1:
                group[0].take(ret)
            else:
                _take_group(group, ret)
            told_below = [job.reason for job in group if job.reason]
            self.log.warn("\n".join(line for line in stderr.splitlines() if line not in told_below))
        self._tell([job for job in group if job.over])
        for job in group:
            if not job.over:
                self.queue.add(job)

    def _show(self, running: Sequence[Job]) -> None:
        for job in running:
            job.poll()
        self.epoch_times.note(job.state for job in running if job.state)
        self.log.show(self.states)

    def _tell(self, over: Sequence[Job]) -> None:
        for job in over:
            if job.reason:
                self.log.failed(job.state, job.overrides, job.reason)
            elif job.state:
                self.epoch_times.note([job.state])
                self.log.ended(job.state)


def _lend_idle_cores(busy: Sequence[Worker], idle: int) -> None:
    """Let the last runs of a sweep share the cores that no other run needs."""
    for number, worker in enumerate(busy):
        worker.lent.value = idle // len(busy) + (number < idle % len(busy))


def _take_group(group: Sequence[Job], result: GroupResult) -> None:
    for number, job in enumerate(group):
        if number in result.failed:
            job.fail(result.failed[number])
        elif number in result.alone:
            job.keep_alone(result.alone[number], number in result.begun)
        else:
            job.take(JobReturn(status=JobStatus.COMPLETED))


def _vectorize(asked_for: bool | str, gpus: Sequence[str]) -> bool:
    if asked_for not in (True, False, "auto"):
        raise UserError(f"hydra.launcher.vectorize={asked_for}: must be one of: auto, true, false")
    return bool(gpus) if asked_for == "auto" else bool(asked_for)


def _checked(asked_for: int | None) -> int | None:
    if asked_for is not None and asked_for < 1:
        raise UserError(f"hydra.launcher.workers={asked_for}: must be 1 or more; leave it out for one per core or GPU")
    return asked_for
