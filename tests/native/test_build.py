"""The C++ code on its own, its compilation, and runs without it."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from src.native.build import HEADERS, SOURCES, Unavailable, _processor, cache_folder, library
from tests.helpers.commands import ROOT, Command, environment
from tests.helpers.runs import the_run

BUILDS = {  # the sanitizer of addresses makes compilation slow, that of threads the program
    "sanitized addresses": ["g++", "-march=native", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "sanitized threads": ["g++", "-march=native", "-O2", "-fsanitize=thread"],
    "this machine": ["g++", "-march=native", "-O2"],
    "AVX2": ["g++", "-mavx2", "-mfma", "-O2"],
    "any processor of its kind": ["g++", "-O2"],
    "clang": ["clang++", "-march=native", "-O2"],
}
TRIALS = {"sanitized addresses": 60, "sanitized threads": 30}
ODD_SHAPES = Path(__file__).with_name("odd_shapes.cpp")
RUN = ("data=digits", "model=lenet", "epochs=1")


def built(command: list[str]) -> Path:
    """Return the program, compiled by this command unless it is in the user's cache."""
    texts = [file.read_bytes() for file in (ODD_SHAPES, *SOURCES, *HEADERS)]
    version = subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(repr((command, version, _processor(), texts)).encode()).hexdigest()[:16]
    program = cache_folder() / f"odd_shapes-{digest}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, str(ODD_SHAPES), "-o", str(partial)], check=True)
        partial.replace(program)
    return program


@pytest.mark.parametrize("build", BUILDS)
def test_odd_shapes_are_computed_exactly_and_within_bounds(build: str) -> None:
    if shutil.which(BUILDS[build][0]) is None:
        pytest.skip(f"{BUILDS[build][0]} is not installed")
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if build == "AVX2" and not (" avx2 " in flags and " fma " in flags):
        pytest.skip("this processor has no AVX2")
    program = built([*BUILDS[build], "-g1", "-std=c++17", "-pthread", "-Wall", "-Wextra", "-Werror"])
    trials = TRIALS.get(build, 200)
    ended = subprocess.run([program, str(trials)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f": 0 of {3 * trials} wrong" in ended.stdout


def kernels_of(outputs: Path) -> str:
    (session,) = json.loads((the_run(outputs) / "run.json").read_text())["sessions"]
    return str(session["kernels"])


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """A compiler that copies this code's library, slowly, and writes a line to the file calls."""
    script = tmp_path / "compiler"
    script.write_text(
        f"#!/bin/sh\necho called >> {shlex.quote(str(tmp_path / 'calls'))}\nsleep 0.5\n"
        f'while [ "$1" != -o ]; do shift; done\ncp {shlex.quote(library()._name)} "$2"\n'
    )
    script.chmod(0o755)
    return script


def calls(compiler: Path) -> int:
    return len(compiler.with_name("calls").read_text().splitlines())


def test_the_code_is_compiled_once_into_the_users_cache(
    train: Command, tmp_path: Path, outputs: Path, compiler: Path
) -> None:
    assert train(*RUN, XDG_CACHE_HOME=str(tmp_path)).returncode == 0
    (compiled,) = (tmp_path / "ravine").glob("kernels-*.so")
    assert kernels_of(outputs).startswith("native, ")
    before = compiled.stat().st_mtime_ns
    # A cached library needs no compiler.
    assert train(*RUN, "force=true", XDG_CACHE_HOME=str(tmp_path), CXX="no-such-compiler").returncode == 0
    assert kernels_of(outputs).startswith("native, ")
    assert compiled.stat().st_mtime_ns == before
    compiled.write_bytes(b"")  # damaged
    assert train(*RUN, "force=true", XDG_CACHE_HOME=str(tmp_path), CXX=str(compiler)).returncode == 0
    assert kernels_of(outputs).startswith("native, ")
    assert calls(compiler) == 1
    left = sorted(path.suffix for path in (tmp_path / "ravine").iterdir())
    assert left in ([".sha256", ".so"], [".lock", ".sha256", ".so"])


@pytest.fixture
def lanes(tmp_path: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Load the library anew, from a cache of the test's own; return the number of its lanes."""

    def load(**environment: str) -> int:
        for key, value in ({"XDG_CACHE_HOME": str(tmp_path / "cache"), "CXX": str(compiler)} | environment).items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(tempfile, "tempdir", None)  # which the last call has noted
        return int(library.__wrapped__().lanes())

    return load


@pytest.mark.parametrize("fault", ["cut", "changed", "no hash", "another hash", "writable by others", "a link"])
def test_a_library_that_is_not_as_it_was_compiled_is_compiled_anew(
    fault: str, tmp_path: Path, compiler: Path, lanes: Callable[..., int]
) -> None:
    found = lanes()
    (file,) = (tmp_path / "cache" / "ravine").glob("*.so")
    content = file.read_bytes()
    if fault in ("cut", "changed"):
        file.unlink()  # this process has mapped it
        file.write_bytes(content[:20_000] if fault == "cut" else content[:-1] + b"x")
    elif fault == "no hash":
        file.with_suffix(".sha256").unlink()
    elif fault == "another hash":
        file.with_suffix(".sha256").write_bytes(b"\xff" * 64)
    elif fault == "writable by others":
        file.chmod(0o777)
    else:
        file.rename(tmp_path / "elsewhere.so")
        file.symlink_to(tmp_path / "elsewhere.so")
    assert lanes() == found
    assert calls(compiler) == 2
    assert file.read_bytes() == content
    assert lanes() == found
    assert calls(compiler) == 2


def test_nobody_else_can_write_where_it_lies(tmp_path: Path, lanes: Callable[..., int]) -> None:
    (tmp_path / "cache" / "ravine").mkdir(parents=True, mode=0o777)
    (tmp_path / "cache" / "ravine").chmod(0o777)
    lanes()
    assert (tmp_path / "cache" / "ravine").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_users_is_not_used(tmp_path: Path, lanes: Callable[..., int]) -> None:
    (tmp_path / "cache" / "ravine").mkdir(parents=True)
    os.chown(tmp_path / "cache" / "ravine", 12345, 12345)
    lanes(TMPDIR=str(tmp_path))
    assert not list((tmp_path / "cache").rglob("*.so"))
    assert len(list((tmp_path / f"ravine-{os.getuid()}").glob("*.so"))) == 1
    os.chown(tmp_path / f"ravine-{os.getuid()}", 12345, 12345)
    with pytest.raises(Unavailable, match="belong to other users; set XDG_CACHE_HOME to a folder of yours"):
        lanes(TMPDIR=str(tmp_path))


def test_a_relative_cache_is_ignored(tmp_path: Path, lanes: Callable[..., int]) -> None:
    lanes(XDG_CACHE_HOME="relative", HOME=str(tmp_path))
    assert len(list((tmp_path / ".cache" / "ravine").glob("*.so"))) == 1
    assert not (ROOT / "relative").exists()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"CXX": "no-such-compiler -O1"}, "no C++ compiler found: no-such-compiler -O1"),
        ({"CXX": "false"}, "false cannot compile convolution.cpp, linear.cpp, training.cpp"),
        ({"XDG_CACHE_HOME": "/proc"}, "the native code cannot be compiled, cached or loaded: "),
    ],
    ids=["no compiler", "a compiler that fails", "no place for it"],
)
def test_without_the_library_torch_is_used_and_the_record_says_why(
    broken: dict[str, str], why: str, train: Command, outputs: Path, tmp_path: Path
) -> None:
    ended = train(*RUN, **({"XDG_CACHE_HOME": str(tmp_path / "cache")} | broken))
    assert ended.returncode == 0, ended.stderr
    assert kernels_of(outputs).startswith("torch: ")
    assert why in kernels_of(outputs)


def test_processes_that_compile_at_once_do_not_disturb_each_other(tmp_path: Path, compiler: Path) -> None:
    env = environment(ROOT, XDG_CACHE_HOME=str(tmp_path), CXX=str(compiler))
    env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads do not survive a fork
    script = (
        "import os; from src.native.build import library\n"
        "children = []\n"
        "for _ in range(2):  # so four processes\n"
        "    children = [*children, child] if (child := os.fork()) else []\n"
        "os.write(1, b'%d ' % library().lanes())\n"
        "for child in children: assert os.waitpid(child, 0)[1] == 0"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0
    assert ended.stderr == ""
    lanes = ended.stdout.split()
    assert len(lanes) == 4
    assert set(lanes) in ({"4"}, {"8"}, {"16"})
    assert len(list(tmp_path.glob("ravine/*.so"))) == 1
    assert calls(compiler) == 1
