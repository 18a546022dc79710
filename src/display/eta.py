"""Seconds per epoch and time left, estimated from existing runs."""

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable
from pathlib import Path
from statistics import median

from src.config.settings import Settings
from src.runs.state import State


class EpochTimes:
    """Seconds per epoch: the median over the most similar runs."""

    def __init__(self) -> None:
        self._seen: defaultdict[Hashable, dict[Path, float]] = defaultdict(dict)
        self._medians: dict[Hashable, float] = {}

    def note(self, states: Iterable[State]) -> None:
        """Add the times of runs with one epoch or more; a newer time of the same run replaces the older one."""
        for state in states:
            if state.seconds is not None:
                for kind in _kinds(state.settings):
                    self._seen[kind][state.directory] = state.seconds
                    self._medians.pop(kind, None)

    def seconds(self, settings: Settings) -> float | None:
        """Return the seconds per epoch of such a run; None if no similar run is known."""
        for kind in _kinds(settings):
            if kind in self._seen:
                if kind not in self._medians:
                    self._medians[kind] = median(self._seen[kind].values())
                return self._medians[kind]
        return None

    def left(self, state: State) -> float | None:
        """Return the seconds that one worker still needs for a run; None if no similar run is known."""
        seconds = self.seconds(state.settings) if state.epochs_left else 0.0
        return None if seconds is None else seconds * state.epochs_left


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds, as 0:00:07 or 100:00:00."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _kinds(settings: Settings) -> list[Hashable]:
    """Return the keys that similar runs share, from most to least similar."""
    network = settings.data, json.dumps(settings.model, sort_keys=True)
    return [(*network, settings.batch_size), network]
