"""Number of threads of the native convolutions, which does not change their results."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Threads:
    """Threads of this process's own, and those of cores that are lent to it: an integer shared with the lender."""

    number: int = 1
    lent: Any = None

    @property
    def total(self) -> int:
        """The number of threads now."""
        return self.number + (self.lent.value if self.lent is not None else 0)


THREADS = Threads()
