"""The C++ library, compiled for this machine on first use and kept in the user's cache."""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

SOURCES = [Path(__file__).with_name(name) for name in ("convolution.cpp", "linear.cpp", "training.cpp")]
HEADERS = [Path(__file__).with_name(name) for name in ("kernels.h", "simd.h")]
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-ffp-contract=fast", "-fno-math-errno"]
FLAGS += ["-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"]
if (
    sys.platform == "linux"
):  # other libraries of the process may have an older C++ runtime, and functions of the same names
    FLAGS += ["-static-libstdc++", "-static-libgcc", "-Wl,-Bsymbolic"]
SIGNATURES = {  # argument types of each function: p a pointer, i an integer
    "forward": "ppppppii",
    "backward": "ppppppppiii",
    "gather": "piipippp",
    "train": "pppp",
    "evaluate": "ppp",
}
_switched_off = False  # by `without_native_code`
PATIENCE = 120  # seconds to wait for another process that compiles


class Unavailable(Exception):
    """The library cannot be built or loaded; the message says why."""


@cache
def library() -> ctypes.CDLL:
    """Load the library, compiling it if needed. Raises Unavailable, for example if there is no compiler."""
    texts = [file.read_bytes() for file in (*SOURCES, *HEADERS)]
    content = repr((FLAGS, platform.libc_ver(), _processor(), texts)).encode()
    try:
        file = _own_folder() / f"kernels-{hashlib.sha256(content).hexdigest()[:16]}.so"
        if _is_intact(file):
            return _load(file)
        with FileLock(file.with_suffix(".lock"), timeout=PATIENCE):
            if not _is_intact(file):  # else another process has compiled it
                _compile(file)
        return _load(file)
    except (OSError, RuntimeError, AttributeError) as error:  # no home, no rights, no space, no working compiler
        raise Unavailable(f"the native code cannot be compiled, cached or loaded: {error}") from error


def _own_folder() -> Path:
    """Return a folder that only this user can write in: the cache or, if that is another user's, a temporary one.

    Whoever can write there could have this process run any code. Raises OSError and Unavailable.
    """
    for folder in (cache_folder(), Path(tempfile.gettempdir(), f"ravine-{_user()}")):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.lstat().st_uid == folder.stat().st_uid == _user():
            folder.chmod(0o700)
            return folder
    raise Unavailable(f"{cache_folder()} and {folder} belong to other users; set XDG_CACHE_HOME to a folder of yours")


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0  # as `stat` says on Windows


def _is_intact(file: Path) -> bool:
    """Return True if a library is this user's, nobody else can write to it, and it has the hash beside it."""
    try:
        found = file.lstat()
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == _user() and not found.st_mode & 0o022
        return ours and _hash_file(file).read_text() == hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False


def _hash_file(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _load(file: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(file))
    for name, types in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes = [ctypes.c_void_p if type_ == "p" else ctypes.c_int64 for type_ in types]
        function.restype = ctypes.c_int64 if name in ("train", "evaluate") else None
    return loaded


@cache
def backend() -> str:
    """Return "native, N lanes", or "torch: " and the reason why the library is unavailable."""
    try:
        return f"native, {library().lanes()} lanes"
    except Unavailable as reason:
        return f"torch: {reason}"


@contextmanager
def without_native_code() -> Iterator[None]:
    """Use torch's operators only, as a network needs that is exported."""
    global _switched_off
    _switched_off = True
    try:
        yield
    finally:
        _switched_off = False


def supports(*tensors: Tensor) -> bool:
    """Return True if the native code is available and supports these tensors: float32 on the CPU."""
    return (
        not _switched_off
        and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        and (backend().startswith("native"))
    )


def in_plain_eager() -> bool:
    """Return True if no `torch.func` transform, compiler or autocast is active, which need torch's own operators."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()  # the check that torch.autograd.Function makes
        or torch.is_autocast_enabled("cpu")
    )


def _compile(file: Path) -> None:
    compiler = _compiler()
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        partial = Path(folder, "partial.so")
        command = [*compiler, *FLAGS, *map(str, SOURCES), "-o", str(partial)]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if ended.returncode:
            names = ", ".join(file.name for file in SOURCES)
            raise Unavailable(f"{compiler[0]} cannot compile {names}: {ended.stderr.strip()[:200]}")
        with partial.open("rb") as written:
            os.fsync(written.fileno())  # otherwise a power cut could leave a partial file under the final name
        partial.chmod(0o700)
        noted = Path(folder, "noted")
        noted.write_text(hashlib.sha256(partial.read_bytes()).hexdigest())
        partial.replace(file)
        noted.replace(_hash_file(file))


def _compiler() -> list[str]:
    asked_for = shlex.split(os.environ.get("CXX", ""))
    for command in [asked_for] if asked_for else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(command[0]):
            return command
    raise Unavailable(f"no C++ compiler found: {' '.join(asked_for) or 'c++, g++, clang++'}")


def _processor() -> str:
    """Return what `-march=native` depends on, since machines with different processors may share the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def cache_folder() -> Path:
    """Return the folder of the compiled code in the user's cache."""
    default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative one is to be ignored (XDG Base Directory Specification).
    return (given if given.is_absolute() else Path(default).expanduser()) / "ravine"
