"""The result of training a group."""

from dataclasses import dataclass, field


@dataclass
class GroupResult:
    """Outcomes by job number; a job in neither `failed` nor `alone` has ended its run."""

    failed: dict[int, str] = field(default_factory=dict)  # reasons
    alone: dict[int, str] = field(default_factory=dict)  # reasons why these jobs must be trained alone
    begun: set[int] = field(default_factory=set)  # jobs with an epoch on disk, or nothing there before
