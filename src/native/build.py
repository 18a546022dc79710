"""The C++ code, compiled on first use for this machine, and kept in the user's cache."""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

SOURCES = [Path(__file__).with_name(name) for name in ("convolution.cpp", "linear.cpp")]
HEADERS = [Path(__file__).with_name("simd.h")]
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-ffp-contract=fast"]
FLAGS += ["-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"]
if sys.platform == "linux":  # the process may hold an older C++ library than the compiler's
    FLAGS += ["-static-libstdc++", "-static-libgcc"]
SIGNATURES = {  # the types of each function's arguments: pointers and whole numbers
    "forward": "ppppppii",
    "backward": "ppppppppii",
    "linear_forward": "ippi",
    "linear_backward": "ippipp",
    "gather": "pipipp",
}
PATIENCE = 120  # seconds for another process that compiles


class Unavailable(Exception):
    """There is no library; the text says why."""


@cache
def library() -> ctypes.CDLL:
    """The library. Raises Unavailable where it cannot be built, as without a compiler."""
    texts = [file.read_bytes() for file in (*SOURCES, *HEADERS)]
    content = repr((FLAGS, platform.libc_ver(), _processor(), texts)).encode()
    try:
        file = _folder() / f"kernels-{hashlib.sha256(content).hexdigest()[:16]}.so"
        with suppress(OSError):  # not there, or damaged
            return _load(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=PATIENCE):
            with suppress(OSError):
                return _load(file)  # compiled meanwhile
            _compile(file)
        return _load(file)
    except (OSError, RuntimeError) as error:  # no home, no rights, no space, a compiler that is none
        raise Unavailable(f"the code cannot be compiled, kept or loaded: {error}") from error


def _load(file: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(file))
    for name, types in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes = [ctypes.c_void_p if type_ == "p" else ctypes.c_int64 for type_ in types]
        function.restype = None
    return loaded


@cache
def backend() -> str:
    """What works here: native, or torch and why."""
    try:
        return f"native, {library().lanes()} lanes"
    except Unavailable as reason:
        return f"torch: {reason}"


def supports(*tensors: Tensor) -> bool:
    """Whether the native code can take these: float32 on the CPU."""
    return all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors) and (
        backend().startswith("native")
    )


def in_plain_eager() -> bool:
    """Whether neither `torch.func`, nor a compiler, nor autocast wants to see torch's own operators."""
    return not (
        torch._C._are_functorch_transforms_active()  # as torch.autograd.Function itself asks
        or torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
    )


def forbid_double_backward(operation: str) -> None:
    """Raise RuntimeError in a backward pass that shall itself be differentiated, which would go wrong unseen."""
    if torch.is_grad_enabled():
        raise RuntimeError(f"{operation}: its native code has no second derivative")


def _compile(file: Path) -> None:
    compiler = _compiler()
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        partial = Path(folder, "partial.so")
        command = [*compiler, *FLAGS, *map(str, SOURCES), "-o", str(partial)]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if ended.returncode:
            names = " and ".join(file.name for file in SOURCES)
            raise Unavailable(f"{compiler[0]} cannot compile {names}: {ended.stderr.strip()[:200]}")
        with partial.open("rb") as written:
            os.fsync(written.fileno())  # or a power cut might leave half of it under the name that is trusted
        partial.replace(file)


def _compiler() -> list[str]:
    asked_for = shlex.split(os.environ.get("CXX", ""))
    for command in [asked_for] if asked_for else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(command[0]):
            return command
    raise Unavailable(f"there is no C++ compiler: {' '.join(asked_for) or 'c++, g++, clang++'}")


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
