"""The jobs of a sweep, run by workers until none is left."""

import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.context import BaseContext
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from joblib import cpu_count
from rich.console import Console
from rich.live import Live

from src.display.sweep_progress import SweepProgress, counts_of
from src.errors import Reported, UserError, one_line
from src.fused.result import GroupResult
from src.interrupts import raise_interrupts
from src.runs.announcements import announced
from src.runs.directory import Run
from src.runs.state import State, read_state
from src.sweep.gpus import gpus
from src.sweep.grouping import groups
from src.sweep.job import Job
from src.sweep.workers import Died, Task, Worker, end_all, start_method

POLL = 0.5  # seconds between two looks at the runs
REPORT = 60.0  # seconds between two lines on how far all are, where there is no terminal


class SweepScheduler:
    """Jobs, no two of which are the same run, and what is known of how long they take.

    `vectorize`: whether runs that are alike are trained as one model; "auto" means on a GPU.
    """

    def __init__(
        self, jobs: Sequence[Job], workers: int | None, idle: list[Worker], vectorize: bool | str = "auto"
    ) -> None:
        self.jobs, self.idle = jobs, idle
        self.console = Console(markup=False, highlight=False)
        self.config = next((job.config for job in jobs if job.state), None)  # None in another application than Ravine
        self.gpus = gpus() if self.config and self.config.device != "cpu" else []
        self.vectorize = self.config is not None and _vectorize(vectorize, self.gpus)
        self.asked_for = _checked(workers)
        self.workers = self._useful(groups=self.vectorize)
        self.alone: dict[Job, str] = {}  # trained by themselves, though runs were to be fused, with the reason
        self.dry_run = self.config is not None and self.config.dry_run
        self.progress = SweepProgress(self.workers)
        self.progress.compare(self.states)
        self.epoch_times = self.progress.epoch_times
        self.epoch_times.note([*self.states, *self._others()])
        on_screen = self.console.is_terminal and self.config is not None
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if on_screen else None
        self.reported = time.monotonic()
        self.said: set[str] = set()

    @property
    def states(self) -> list[State]:
        return [job.state for job in self.jobs if job.state is not None]

    def _others(self) -> list[State]:
        """Earlier runs on the same data and networks, which tell how long such runs take."""
        known = {state.directory for state in self.states if state.seconds}
        folders = {state.directory.parent for state in self.states}
        others = [file.parent for folder in folders for file in folder.glob("*/run.json") if file.parent not in known]
        return [state for directory in others if (state := read_state(Run(directory)))]

    def preview(self) -> None:
        """Say what `train` would do, and how long it would take."""
        for job in self.jobs:
            if job.failed:
                self._tell(job)
        for state in self.states:
            begun = f"  {state.epoch}/{state.settings.epochs} epochs done" if state.epoch and state.epochs_left else ""
            self._say(f"{state.status:<9} {self.progress.display_name(state)}{begun}")
        time_left = self.progress.time_left(self.states) or "an unknown time, since no run like these is there,"
        workers = f"{self.workers} worker{'s' * (self.workers != 1)}"
        self._say(f"{counts_of(self.states)}; expected to take {time_left} with {workers}")

    def train(self, function: TaskFunction, context: HydraContext) -> None:
        """Run all jobs that have no result yet; after a failure, with `fail_fast`, no more.

        What ends this early, an `Interrupted` too, ends the runs in progress; they keep their checkpoints.
        """
        for job in self.jobs:
            if job.failed:
                self._tell(job)
        waiting = [job for job in self.jobs if job.ret is None]
        self.waiting = groups(waiting, self.workers) if self.vectorize else [[job] for job in waiting]
        self._say(self.progress.line(self.states))
        if models := [len(group) for group in self.waiting if len(group) > 1]:
            self._say(f"{sum(models)} runs are to be trained as {len(models)} model{'s' * (len(models) > 1)}")
        if self.waiting and not self._over:
            raise_interrupts()
            with self._announced(), self.live or nullcontext():
                self._work_off(function, context)

    def print_results(self) -> None:
        """The table of cells, and what went wrong. Raises Reported if `fail_fast` left jobs undone."""
        for job in self.jobs:
            if job.ret is None:
                job.refresh()
        if self.states:
            self.progress.print_results(self.states, self.console)
        for job in self.jobs:
            if job.failed and not job.state:
                self._say(f"failed    {job.name}: {job.reason}")
        if len(self.jobs) > 1:
            for reason, number in Counter(self.alone.values()).items():
                self._say(f"{number} run{'s were' if number > 1 else ' was'} trained alone: {reason}")
        if any(job.ret is None for job in self.jobs):
            raise Reported("fail_fast")

    @property
    def _over(self) -> bool:
        """Whether a failure has ended all."""
        return self.config is not None and self.config.fail_fast and any(job.failed for job in self.jobs)

    def _announced(self) -> AbstractContextManager[None]:
        return announced(Path(self.config.output_dir), self.states) if self.config else nullcontext()

    def _work_off(self, function: TaskFunction, context: HydraContext) -> None:
        start = start_method() if self.config else start_method(imports=())
        crew = [*self.idle]
        busy: dict[Future[bytes], tuple[Worker, list[Job]]] = {}
        try:
            while (self.waiting or busy) and not self._over:
                places = self._useful(any(len(group) > 1 for group in [*self.waiting, *(g for _, g in busy.values())]))
                self._hire(crew, start, places)  # again, since a group may fall apart
                while self.idle and len(busy) < places and (group := self._next()):
                    worker = self.idle.pop()
                    if self.vectorize and len(group) == 1:
                        self.alone[group[0]] = group[0].alone or "no other run that was left is like it"
                    task = Task(function, context, [job.config for job in group], quiet=self.config is not None)
                    busy[worker.submit(task)] = worker, group
                    for job in group:
                        job.begin()
                wait(busy, POLL, FIRST_COMPLETED) if busy else time.sleep(POLL)
                for future in [future for future in busy if future.done()]:
                    worker, group = busy.pop(future)
                    self.idle.append(worker)
                    self._collect(worker, future, group)
                self._show([job for _, group in busy.values() for job in group])
        except BaseException:
            end_all(crew)
            raise
        if busy:
            end_all(crew)

    def _useful(self, groups: bool) -> int:
        """How many workers at once: one a core that this process may use, by its affinity and its cgroup.

        Fewer if runs take several threads; for `groups` on GPUs one each.
        """
        cores = max(1, int(cpu_count()) // (self.config.threads if self.config else 1))
        return self.asked_for or (len(self.gpus) if groups and self.gpus else cores)

    def _hire(self, crew: list[Worker], start: BaseContext, places: int) -> None:
        """As many workers as there is use for, spread over the GPUs."""
        while len(crew) < places and len(self.idle) < len(self.waiting):
            worker = Worker(start, self.gpus[len(crew) % len(self.gpus)] if self.gpus else None)
            crew.append(worker)
            self.idle.append(worker)

    def _next(self) -> list[Job]:
        """The longest group that waits, without those of its jobs that another study is at or has done."""
        for group in sorted(self.waiting, key=self._cost, reverse=True):
            free = [job for job in group if not (job.run and job.run.held)]
            held = [job for job in group if job not in free]
            self.waiting.remove(group)
            if held:
                self.waiting.append(held)
            for job in group:
                job.refresh()
            for job in free:
                if job.ret is not None:
                    self._tell(job)
            if left := [job for job in free if job.ret is None]:
                return left
        return []

    def _cost(self, group: Sequence[Job]) -> tuple[float, ...]:
        """What the longest come first by."""
        return tuple(map(sum, zip(*map(self._cost_of, group), strict=True)))

    def _cost_of(self, job: Job) -> tuple[float, ...]:
        if job.state is None:
            return (0.0,)
        seconds = self.epoch_times.left(job.state)
        return (math.inf if seconds is None else seconds, job.state.epochs_left, -job.state.settings.batch_size)

    def _collect(self, worker: Worker, future: "Future[bytes]", group: Sequence[Job]) -> None:
        try:
            ret, stderr = worker.result(future)
        except Exception as error:  # Died, or it called sys.exit, or what it returned cannot be sent
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
                self._collect_group(group, ret)
            said_below = [job.reason for job in group if job.failed]
            self._warn("\n".join(line for line in stderr.splitlines() if line not in said_below))
        for job in group:
            if job.ret is None:
                self.waiting.append([job])
            else:
                self._tell(job)

    def _collect_group(self, group: Sequence[Job], result: GroupResult) -> None:
        for number, job in enumerate(group):
            if number in result.failed:
                job.fail(result.failed[number])
            elif number in result.alone:
                job.keep_alone(result.alone[number], number in result.begun)
            else:
                job.take(JobReturn(status=JobStatus.COMPLETED))

    def _show(self, running: Sequence[Job]) -> None:
        """How far all are: the picture on a terminal, a line now and then elsewhere."""
        for job in running:
            job.poll()
        self.epoch_times.note(job.state for job in running if job.state)
        if self.live:
            self.live.update(self.progress.picture(self.states), refresh=True)
        elif time.monotonic() - self.reported > REPORT:
            self.reported = time.monotonic()
            self._say(self.progress.line(self.states))

    def _tell(self, job: Job) -> None:
        """Say how a job has ended."""
        if job.reason:
            self._warn(f"failed    {self.progress.display_name(job.state) if job.state else job.name}: {job.reason}")
        elif state := job.state:
            self.epoch_times.note([state])
            accuracy = f"  test {state.test_accuracy:.2%}" if state.test_accuracy is not None else ""
            self._say(f"{state.status:<9} {self.progress.display_name(state)}{accuracy}")

    def _say(self, line: str) -> None:
        if self.states:
            self.console.print(line, soft_wrap=True)
            self.console.file.flush()

    def _warn(self, text: str) -> None:
        """Once, if several jobs say the same."""
        if text and text not in self.said:
            self.said.add(text)
            print(text, file=sys.stderr)


def _vectorize(asked_for: bool | str, gpus: Sequence[str]) -> bool:
    if asked_for not in (True, False, "auto"):
        raise UserError(f"hydra.launcher.vectorize={asked_for}: must be one of: auto, true, false")
    return bool(gpus) if asked_for == "auto" else bool(asked_for)


def _checked(asked_for: int | None) -> int | None:
    if asked_for is not None and asked_for < 1:
        raise UserError(
            f"hydra.launcher.workers={asked_for}: must be 1 or more; leave it out for as many as are useful"
        )
    return asked_for
