"""What has become of the jobs of a group; what a worker tells the study."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra.core.utils import JobReturn, JobStatus

from src.sweep.job import Job


@dataclass
class GroupResult:
    """Jobs by their numbers; the runs of those that are not named have ended."""

    failed: dict[int, str] = field(default_factory=dict)  # with the reason
    alone: dict[int, str] = field(default_factory=dict)  # to be trained alone, with the reason
    begun: set[int] = field(default_factory=set)  # whose repetition has begun, if they were to be repeated

    def tell(self, jobs: Sequence[Job]) -> None:
        """Tell each job how it has ended, or that it has not."""
        for number, job in enumerate(jobs):
            if number in self.failed:
                job.fail(self.failed[number])
            elif number in self.alone:
                job.keep_alone(self.alone[number], number in self.begun)
            else:
                job.take(JobReturn(status=JobStatus.COMPLETED))
