"""Commands forked from a process that has imported everything, which otherwise takes each of them seconds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import IO

from filelock import FileLock

ROOT = Path(__file__).parents[2]
# The child leaves the loop, so that it runs and ends as a process of its own.
TEMPLATE = """
import atexit, gc, json, os, signal, subprocess, sys, threading, traceback
import hydra, matplotlib.backends.backend_agg, matplotlib.figure
import pandas.io.formats.style, PIL.Image, pyarrow.parquet, scipy.stats, sklearn.datasets, statsmodels.api
import src.evaluate, src.export, src.predict, src.report, src.status, src.train, src.hydra_plugins.optuna_sweeper
import src.lr_range, src.range_test.figure, src.range_test.losses, src.range_test.workers
import src.fused.train_group, src.models, src.sweep.scheduler, src.training.error_figure, src.training.trainer
import src.reporting.page

# The first use of a parser or a font takes longer than the others.
with hydra.initialize_config_dir(os.path.abspath("conf"), version_base="1.3"):
    hydra.compose("config", ["lr=0.1"])
PIL.Image.init()
figure = matplotlib.figure.Figure()
figure.subplots().set_title("a")
matplotlib.backends.backend_agg.FigureCanvasAgg(figure).draw()
# In another process: threads, as the bundler's, would not survive a fork.
code = "import src.reporting.page, sys; sys.stdout.write(src.reporting.page._library())"
library = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
src.reporting.page._library = lambda: library
gc.freeze()  # else each child's searches for garbage would copy this process's memory

codes = {}  # the files for the exit codes of commands, by process


def write_codes(*_):
    while codes and (ended := os.waitpid(-1, os.WNOHANG))[0]:
        path = codes.pop(ended[0])
        with open(path + ".partial", "w") as file:
            file.write(str(os.waitstatus_to_exitcode(ended[1])))
        os.rename(file.name, path)


signal.signal(signal.SIGCHLD, write_codes)
for line in sys.stdin:
    request = json.loads(line)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # until the child is known
    if not (child := os.fork()):
        break
    codes[child] = request["code"]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
else:
    os._exit(0)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
os.setsid()
signal.alarm(300)  # a command that hangs
opened = [os.open(name, mode) for name, mode in (
    (os.devnull, os.O_RDONLY), (request["stdout"], os.O_WRONLY), (request["stderr"], os.O_WRONLY)
)]
with open(request["pid"] + ".partial", "w") as file:
    file.write(str(os.getpid()))
os.rename(file.name, request["pid"])
for number, descriptor in enumerate(opened):
    os.dup2(descriptor, number)
os.environ.clear()
os.environ.update(request["env"])
if paths := [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]:
    import importlib.util
    sys.path[:0] = paths
    sys.modules.pop("sitecustomize", None)
    if importlib.util.find_spec("sitecustomize"):
        import sitecustomize
if "DRAWN" not in request["env"]:  # most tests do not look at the error figure, which takes half of a small run
    import numpy
    src.training.error_figure.error_figure = lambda *_: numpy.zeros((4, 4, 3), numpy.uint8)
if request["fork"]:
    import multiprocessing
    forked = lambda imports=(): multiprocessing.get_context("fork")
    src.sweep.scheduler.start_method = src.range_test.workers.start_method = forked
import runpy
sys.modules.pop(request["module"], None)  # as in a new process, where nothing has imported it
sys.argv = ["", *request["arguments"]]
code = 0
try:
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
except SystemExit as end:
    if end.code is not None and not isinstance(end.code, int):
        print(end.code, file=sys.stderr)
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
except BaseException:
    traceback.print_exc()
    code = 1
# As at the end of a process, except that the modules' memory is not freed piece by piece, which takes two seconds.
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


class Started:
    """A command in its own session, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, pid: int, code: Path, stdout: IO[str], stderr: IO[str]) -> None:
        self.pid, self.stdout, self.stderr, self._code = pid, stdout, stderr, code
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and self._code.exists():
            self.returncode = int(self._code.read_text())
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Raises TimeoutError."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise self._late(timeout)
            time.sleep(0.005)
        return code

    def _late(self, timeout: float) -> TimeoutError:
        return TimeoutError(f"process {self.pid} has not ended within {timeout:g} s")

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Return what is left of stdout and stderr at the end. Raises TimeoutError."""
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            if wait(texts, timeout).not_done:
                os.killpg(self.pid, signal.SIGKILL)  # which ends the reading, too
                raise self._late(timeout)
            stdout, stderr = (text.result() for text in texts)
        self.wait()
        self.stdout.close()
        self.stderr.close()
        return stdout, stderr

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class WarmCommands:
    """Runs `python -m MODULE ARGUMENTS` in forks of one process, which reads requests from a named pipe.

    The process ends when all that use it have closed the pipe.
    """

    def __init__(self, env: Mapping[str, str], folder: Path, shared: Path) -> None:
        """Use the process whose pipe is in the folder `shared`; if there is none, start it."""
        self.folder, self.number, self.process = folder, 0, None
        requests = shared / "requests"
        self.lock = FileLock(shared / "requests.lock")
        with self.lock:
            try:
                self.requests = os.open(requests, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # no pipe, or nobody reads it
                requests.unlink(missing_ok=True)
                os.mkfifo(requests)
                reader = os.open(requests, os.O_RDONLY | os.O_NONBLOCK)
                self.requests = os.open(requests, os.O_WRONLY)
                os.set_blocking(reader, True)
                template = [sys.executable, "-c", TEMPLATE]
                # A command's stdout is a pipe, so that of the process must be one.
                self.process = subprocess.Popen(template, cwd=ROOT, env=dict(env), stdin=reader, stdout=subprocess.PIPE)
                os.close(reader)
        os.set_blocking(self.requests, True)

    def start(self, module: str, arguments: Sequence[str], env: Mapping[str, str], fork: bool = True) -> Started:
        """Start a command. `fork`: its workers are forked, too, instead of started by a forkserver."""
        self.number += 1
        files = {name: self.folder / f"{self.number}.{name}" for name in ("stdout", "stderr", "code", "pid")}
        streams = []
        for name in ("stdout", "stderr"):
            os.mkfifo(files[name])
            descriptor = os.open(files[name], os.O_RDONLY | os.O_NONBLOCK)  # does not wait for the writer
            os.set_blocking(descriptor, True)
            streams.append(os.fdopen(descriptor, encoding="utf-8", errors="surrogateescape"))
        paths = {name: str(file) for name, file in files.items()}
        request = {"module": module, "arguments": list(arguments), "env": dict(env), "fork": fork, **paths}
        with self.lock, open(self.requests, "w", closefd=False) as pipe:
            pipe.write(json.dumps(request) + "\n")
        until = time.monotonic() + 120
        while not files["pid"].exists():
            if time.monotonic() > until or files["code"].exists():
                for stream in streams:
                    stream.close()
                raise AssertionError("the process that forks commands has ended, or its fork has")
            time.sleep(0.005)
        return Started(int(files["pid"].read_text()), files["code"], *streams)

    def run(
        self, module: str, arguments: Sequence[str], env: Mapping[str, str], fork: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end. `fork`: as for `start`."""
        started = self.start(module, arguments, env, fork)
        stdout, stderr = started.communicate()
        return subprocess.CompletedProcess([sys.executable, "-m", module, *arguments], started.wait(), stdout, stderr)

    def close(self) -> None:
        """Let the process end; whoever started it waits for that, and so for the tests that still use it."""
        os.close(self.requests)
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=300)
            self.process.kill()
            self.process.communicate()
