"""The C++ code, compiled on first use for this machine, and kept in the user's cache."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-ffp-contract=fast"]


class Unavailable(Exception):
    """There is no library; the text says why."""


@cache
def library() -> ctypes.CDLL:
    """The library. Raises Unavailable where it cannot be built, as without a compiler."""
    compiler = _compiler()
    command = [compiler, *FLAGS, "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"]
    version = subprocess.run([compiler, "--version"], capture_output=True).stdout
    content = repr((command, version, _processor(), SOURCE.read_bytes())).encode()
    try:
        file = _folder() / f"kernels-{hashlib.sha256(content).hexdigest()[:16]}.so"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock")):
                if not file.exists():
                    _compile(command, file)
        return ctypes.CDLL(str(file))
    except (OSError, RuntimeError) as error:  # no home, no rights, no space
        raise Unavailable(f"the compiled code cannot be kept: {error}") from error


@cache
def engine() -> str:
    """What works here: native, or torch and why."""
    try:
        return f"native, {library().lanes()} lanes"
    except Unavailable as reason:
        return f"torch: {reason}"


def _compile(command: list[str], file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        partial = Path(folder, "partial.so")
        ended = subprocess.run([*command, str(SOURCE), "-o", str(partial)], capture_output=True, text=True)
        if ended.returncode:
            raise Unavailable(f"{command[0]} cannot compile {SOURCE.name}: {ended.stderr.strip()[:200]}")
        partial.replace(file)


def _compiler() -> str:
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["c++", "g++", "clang++"]
    for name in names:
        if found := shutil.which(name):
            return found
    raise Unavailable(f"there is no C++ compiler: {', '.join(names)}")


def _processor() -> str:
    """What `-march=native` depends on; the cache may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def _folder() -> Path:
    default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or default, "ravine").expanduser()
