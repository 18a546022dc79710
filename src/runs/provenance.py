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
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "tensorboard", "numpy", "ravine")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
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


@cache
def provenance() -> dict[str, Any]:
    """Return versions, commit (`dirty` if tracked files differ from it, None without a repository) and machine."""
    commit = _git("rev-parse", "HEAD")
    return {
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}},
        "commit": commit,
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
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
