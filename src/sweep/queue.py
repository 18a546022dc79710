"""Queue of groups of jobs that wait for a worker, the longest first."""

import math
from collections.abc import Sequence

from src.display.eta import EpochTimes
from src.sweep.job import Job


class Queue:
    """Waiting groups of jobs; most groups have one job."""

    def __init__(self, groups: Sequence[list[Job]], epoch_times: EpochTimes) -> None:
        self.groups, self.epoch_times = list(groups), epoch_times

    def __len__(self) -> int:
        return len(self.groups)

    def add(self, job: Job) -> None:
        """Add a job as a group of one."""
        self.groups.append([job])

    def take(self) -> tuple[list[Job], list[Job]]:
        """Return the longest waiting group, and jobs that have ended meanwhile.

        Jobs whose run another process is training stay in the queue; the group is empty if there are no others.
        """
        ended: list[Job] = []
        for group in sorted(self.groups, key=self._cost, reverse=True):
            free = [job for job in group if not (job.run and job.run.held)]
            held = [job for job in group if job not in free]
            self.groups.remove(group)
            if held:
                self.groups.append(held)
            for job in group:
                job.refresh()
            ended += [job for job in free if job.over]
            if left := [job for job in free if not job.over]:
                return left, ended
        return [], ended

    def _cost(self, group: Sequence[Job]) -> tuple[float, ...]:
        """Return the sort key of a group: seconds, then epochs, then minibatches per epoch."""
        return tuple(map(sum, zip(*map(self._cost_of, group), strict=True)))

    def _cost_of(self, job: Job) -> tuple[float, ...]:
        if job.state is None:
            return (0.0,)
        seconds = self.epoch_times.left(job.state)
        return (math.inf if seconds is None else seconds, job.state.epochs_left, -job.state.settings.batch_size)
