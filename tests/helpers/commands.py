"""The user's commands as processes, and where they find things."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("DATA_ROOT", ROOT / "data")).absolute()
needs_mnist = pytest.mark.skipif(not (REAL / "MNIST" / "raw").is_dir(), reason="no MNIST under DATA_ROOT or data/")
Command = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., Any]  # as `start`


def environment(data_root: Path, **extra: str) -> dict[str, str]:
    """Return an environment without network: the proxies are a closed local port, which refuses at once."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "RAVINE_TRACEBACK")}
    refused = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return kept | refused | {"DATA_ROOT": str(data_root), "NO_PROXY": "", "no_proxy": ""} | extra


def own_choice(folder: Path, choice: str, yaml: str, module: str = "") -> tuple[str, str]:
    """Write a user-defined `choice`, such as model/mine, and its `module`, mine.py; return the arguments to find it."""
    file = folder / "conf" / f"{choice}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml)
    if module:
        (folder / f"{file.stem}.py").write_text(module)
    return "--config-dir", str(folder / "conf")


def start(output: Path, data_root: Path, *arguments: str, **extra: str) -> "subprocess.Popen[str]":
    """Start the command in its own session."""
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *arguments, f"output_dir={output}"],
        cwd=ROOT,
        env=environment(data_root, **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes(session: int) -> list[int]:
    """Return the live processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found
