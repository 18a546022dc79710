"""Which jobs of a study are trained as one model."""

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence

from src.sweep.job import Job

LARGEST = 128  # runs: each has its open files


def groups(jobs: Sequence[Job], parts: int) -> list[list[Job]]:
    """The jobs, in groups of those that may be one model, none larger than `LARGEST`.

    The largest are cut further until there are as many as `parts`, or none is left of more than three.
    """
    alike: defaultdict[Hashable, list[Job]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: job.state.settings.seed if job.state else 0):  # they share minibatches
        alike[_kind(job)].append(job)
    found = list(alike.values())
    while found and len(largest := max(found, key=len)) > (3 if len(found) < parts else LARGEST):
        found.remove(largest)
        found += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return found


def _kind(job: Job) -> Hashable:
    """Equal in jobs that differ only in optimizer, lr, schedule and seed, and in what does not change numbers."""
    if job.state is None:
        return job
    settings, config = job.state.settings, job.config
    network = json.dumps(settings.model, sort_keys=True)
    of_no_consequence = str(config.data_root), config.device, config.threads
    pixels = settings.data, settings.validation, settings.normalize
    return pixels, network, settings.batch_size, settings.epochs, of_no_consequence
