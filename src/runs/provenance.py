"""Provenance of a run's numbers: versions, commit, machine."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

COMMAND_ID = "RAVINE_COMMAND_ID"
# Untracked files that can change a run: code and settings of the user's own, not the settings that runs keep.
OWN = (":/*.py", ":/*.yaml", ":/*.yml", ":(top,exclude,glob)**/.hydra/**")
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "tensorboard", "numpy", "ravine")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def command_id() -> str | None:
    """Return the id that all processes of a command share, even after Slurm requeues its job; None without one."""
    return os.environ.get(COMMAND_ID) or os.environ.get("SLURM_JOB_ID")


def begin_command() -> None:
    """Set the id of a typed command or of a command in a batch job; the processes that it starts inherit the id."""
    job = None if os.isatty(0) else os.environ.get("SLURM_JOB_ID")  # only batch jobs, without terminal, are requeued
    words = hashlib.sha256(json.dumps(sys.argv).encode()).hexdigest()[:8]  # a job's script may run several commands
    os.environ[COMMAND_ID] = f"{job}-{words}" if job else uuid4().hex


def repository(folder: Path) -> dict[str, Any]:
    """Return the commit of the repository around a folder, and whether its code may be `dirty`, other than committed.

    It is if tracked files differ, or if code or settings are neither tracked nor ignored. None: git cannot tell.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    # `status` would also list each untracked image.
    added = "" if changed else _git(folder, "ls-files", "--others", "--exclude-standard", "--", *OWN)
    dirty = None if changed is None or added is None else bool(changed or added)
    return {"commit": commit, "dirty": dirty}


@cache
def provenance() -> dict[str, Any]:
    """Return versions, machine, and commit and state of Ravine's own repository."""
    return {
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}},
        **repository(Path(__file__).parent),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
    }


def machine() -> str:
    """Return processor, cores and versions on one line, for benchmark results."""
    about = provenance()
    versions = (f"{package} {number}" for package, number in about["versions"].items())
    return ", ".join((about["machine"]["processor"], f"{about['machine']['cores']} cores", *versions))
