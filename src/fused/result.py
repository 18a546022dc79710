"""How the jobs of a group have ended."""

from dataclasses import dataclass, field


@dataclass
class GroupResult:
    """Jobs by their numbers; the runs of those that are not named have ended."""

    failed: dict[int, str] = field(default_factory=dict)  # with the reason
    alone: dict[int, str] = field(default_factory=dict)  # to be trained alone, with the reason
    begun: set[int] = field(default_factory=set)  # whose repetition has begun, if they were to be repeated
