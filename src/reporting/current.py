"""Which ended runs a grid can compare: those on the same data files, and by the same code of the user's own."""

import math
import re
from collections import defaultdict
from datetime import datetime, timezone

import pandas as pd

PARTS = ("model.", "optimizer.", "schedule.")
NESTED = re.compile(r"'_target_': '([^']+)'")  # within an argument, which a frame holds as text
OURS = ("torch", "src")  # packages whose code is not the user's own


def newest_files(ended: pd.DataFrame) -> str | None:
    """Return the data files' hash of the last run to end, most likely that of the files now present."""
    return _of_last(ended, "data_sha256")


def on_other_code(ended: pd.DataFrame) -> list[str]:
    """Return the directories of runs whose code is known, and is not that of the last run to end.

    A digest covers all code of a run that is the user's own, of network, optimizer and schedule. So only runs of the
    same classes of the user's own are versions of each other: two optimizers of the user's own are not.
    """
    alike: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for directory, run in ended[ended.code.notna()].iterrows():
        alike[_own_classes(run)].append(str(directory))
    others = []
    for directories in alike.values():
        codes = ended.code[directories]
        others += list(codes.index[codes != _of_last(ended.loc[directories], "code")])
    return others


def _own_classes(run: "pd.Series") -> tuple[str, ...]:
    """Return the names of the classes of the user's own in a run's settings."""
    texts = {key: str(value) for key, value in run.items() if str(key).startswith(PARTS) and not pd.isna(value)}
    names = {text for key, text in texts.items() if str(key).endswith("._target_")}
    names |= {name for text in texts.values() for name in NESTED.findall(text)}
    return tuple(sorted(name for name in names if name.partition(".")[0] not in OURS))


def _of_last(ended: pd.DataFrame, column: str) -> str | None:
    """Return a column's value in the last run to end, None if no run has one."""
    known = ended[ended[column].notna()]
    times = known.ended.where(known.ended.notna(), known.began)
    return max(zip(map(_seconds, times), known[column], strict=True))[1] if len(known) else None


def _seconds(time: object) -> float:
    """Return the seconds since 1970 of a time in ISO 8601, in UTC unless it says otherwise.

    A time that cannot be read is as early as can be. So is one after now: a run that ended while the clock was wrong
    would decide for years which runs count.
    """
    try:
        moment = datetime.fromisoformat(str(time))
    except ValueError:
        return -math.inf
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    seconds = moment.timestamp()
    return -math.inf if seconds > datetime.now(timezone.utc).timestamp() else seconds
