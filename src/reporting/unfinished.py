"""Runs without final figures: failed, interrupted, running, or not begun."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from src.runs.record import ENDED

REASONS = {
    "interrupted": "interrupted; its command resumes it",
    "running": "still training, or its process was killed; its command resumes it",
    "to do": "not begun",
}


@dataclass(frozen=True)
class Unfinished:
    """A run, its status, the reason, and the command that trains it."""

    directory: str
    status: str
    reason: str
    command: str


def unfinished(runs: pd.DataFrame, command: str) -> list[Unfinished]:
    """Return the runs that have not ended; `command` trains those that were not begun."""
    found = []
    for directory, run in runs[~runs.status.isin(ENDED)].iterrows():
        reason = REASONS.get(run.status) or str(run.get("error") or "no error recorded")
        own = command if run.status == "to do" else _command(Path(str(directory)))
        found.append(Unfinished(str(directory), run.status, reason, own))
    return found


def _command(directory: Path) -> str:
    """Return the command that trained a run, from the overrides that Hydra wrote; empty if they cannot be read."""
    try:
        overrides = OmegaConf.to_object(OmegaConf.load(directory / ".hydra" / "overrides.yaml"))
    except Exception:  # a damaged file can raise anything
        return ""
    words = [str(each) for each in overrides] if isinstance(overrides, list) else []
    return shlex.join(["python", "-m", "src.train", *words])
