"""Which ended runs a grid can compare: those on the same data files, and by the same code of the user's own."""

import math
from datetime import datetime, timezone

import pandas as pd


def newest_files(ended: pd.DataFrame) -> str | None:
    """Return the data files' hash of the last run to end, most likely that of the files now present."""
    return _of_last(ended, "data_sha256")


def on_other_code(ended: pd.DataFrame) -> list[str]:
    """Return the directories of runs whose code is known, and is not that of the last run to end.

    Only runs of the same classes of the user's own are compared (`own_classes`).
    """
    known = ended[ended.code.notna()]
    return [
        directory
        for _, alike in known.groupby("own_classes", sort=False)
        for directory in alike.index[alike.code != _of_last(alike, "code")]
    ]


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
