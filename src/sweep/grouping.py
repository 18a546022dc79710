"""Groups of the jobs of a study that are trained as one model."""

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence

from src.sweep.job import Job

LARGEST = 128  # runs; each keeps files open


def groups(jobs: Sequence[Job], parts: int) -> list[list[Job]]:
    """Return the jobs in groups that can be trained as one model, none larger than `LARGEST`.

    The largest groups are halved until there are at least `parts` groups, or none has more than three jobs.
    """
    alike: defaultdict[Hashable, list[Job]] = defaultdict(list)
    # Sorted by seed, since runs of one seed share minibatches.
    for job in sorted(jobs, key=lambda job: job.state.settings.seed if job.state else 0):
        alike[_kind(job)].append(job)
    found = list(alike.values())
    while found and len(largest := max(found, key=len)) > (3 if len(found) < parts else LARGEST):
        found.remove(largest)
        found += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return found


def _kind(job: Job) -> Hashable:
    """Return a key that is equal for jobs that differ only in optimizer, lr, schedule and seed."""
    if job.state is None:
        return job
    settings, config = job.state.settings, job.config
    network, source = json.dumps(settings.model, sort_keys=True), json.dumps(settings.source, sort_keys=True)
    of_no_consequence = str(config.data_root), str(config.data.get("path")), config.device, config.threads
    pixels = settings.data, settings.validation, settings.normalize, settings.augment, settings.test_share, source
    return pixels, network, settings.batch_size, settings.epochs, of_no_consequence
