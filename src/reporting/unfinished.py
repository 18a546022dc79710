"""Runs without final figures: failed, interrupted, running, or not begun."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from src.config.conf_files import stored_config
from src.runs.dataframe import Frames
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


def unfinished(frames: Frames, command: str) -> list[Unfinished]:
    """Return the runs that have not ended; `command` trains those that were not begun."""
    damaged = {str(file.parent): f"damaged: {why}" for file, why in frames.damaged.items()}
    found = []
    for name, run in frames.runs[~frames.runs.status.isin(ENDED)].iterrows():
        directory, error = str(name), run.get("error")
        reason = REASONS.get(run.status) or (error if isinstance(error, str) else "no error recorded")
        if run.status == "to do" and frames.other_recipes:
            reason += ", or of another recipe"
        own = command if run.status == "to do" else _command(Path(directory))
        found.append(Unfinished(directory, run.status, damaged.get(directory, reason), own))
    return found


def _command(directory: Path) -> str:
    """Return the command that trained a run, from the overrides that Hydra wrote; empty if they cannot be read."""
    try:
        # Not resolved: a page shows no environment.
        overrides = OmegaConf.to_container(stored_config(directory / ".hydra" / "overrides.yaml"), resolve=False)
    except Exception:  # a damaged file can raise anything
        return ""
    words = [str(each) for each in overrides] if isinstance(overrides, list) else []
    return shlex.join(["python", "-m", "src.train", *words])
