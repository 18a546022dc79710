"""Worker processes: each imports once and trains many runs; one that dies affects no other."""

import gc
import io
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.interrupts import Interrupted, deferred_interrupts, raise_on_signals
from src.native.threads import THREADS

GRACE = 10.0  # seconds at most for a run to record that it was interrupted, on a busy machine
IMPORTS = ["src.training.trainer", "src.training.error_figure"]  # they take most of a run's start-up time
PATIENCE = 2.0  # seconds for the thread of a pool to end
T = TypeVar("T")


class Died(Exception):
    """A worker process ended during a job; the text says how."""


@dataclass(frozen=True)
class Task:
    """All that a worker needs to run one job as Hydra's own launchers do, or several jobs as one model."""

    function: TaskFunction
    context: HydraContext
    configs: Sequence[DictConfig]
    quiet: bool  # discard what the job prints, and leave its configuration out of the result


def start_method(imports: Sequence[str] = IMPORTS) -> BaseContext:
    """Return how workers start: forked from a server that has done the imports, or spawned if fork is unavailable."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imports))
    # Ctrl-C reaches every process of the terminal; the server would print a traceback during its imports.
    resource_tracker.ensure_running()  # first, since starting it unblocks SIGINT
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return context


class Worker:
    """One process in a separate pool, since a pool abandons all its jobs if one of its processes dies.

    If `gpu` is given, the process sees only that GPU. `lent` is the number of further cores that it may use.
    """

    def __init__(self, context: BaseContext, gpu: str | None = None) -> None:
        self.context, self.gpu, self.lent = context, gpu, context.Value("i", 0, lock=False)
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=self.context, initializer=_begin, initargs=(self.gpu, self.lent))

    def submit(self, task: Task) -> "Future[bytes]":
        """Start a job. Return its future, for `result`."""
        return self.start(_work, cloudpickle.dumps((task, Singleton.get_state())))

    def start(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Start to call an importable function. Return its future, for `returned`."""
        with deferred_interrupts():  # one within would leave a process that nobody knows of
            try:
                future = self._pool.submit(function, *arguments)
            except BrokenProcessPool:  # its process was killed while idle
                self._pool = self._new_pool()
                future = self._pool.submit(function, *arguments)
            self._process: BaseProcess = next(iter(self._pool._processes.values()))  # for its exit code
        return future

    def result(self, future: "Future[bytes]") -> tuple[Any, str]:
        """Return the JobReturn of one job or the GroupResult of several, and what was written to stderr.

        Raises Died, after replacing the dead process.
        """
        return cloudpickle.loads(self.returned(future))

    def returned(self, future: "Future[T]") -> T:
        """Return what the function returned. Raises what it raised, or Died, after replacing the dead process."""
        try:
            return future.result()
        except BrokenProcessPool:
            self.close()
            self._pool = self._new_pool()
            if self._process.exitcode == 255 and self._process.pid:  # the fork server died; the process may be alive
                with suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)
            raise Died(_how_it_ended(self._process.exitcode)) from None

    def close(self) -> None:
        """Wait for the thread of the pool, whose process has ended or will once it is idle."""
        pool: Any = self._pool
        thread, queue = pool._executor_manager_thread, pool._call_queue
        pool.shutdown(wait=False, cancel_futures=True)
        if thread:
            thread.join(PATIENCE)
            if thread.is_alive():  # Python before 3.11.5 still hands a large argument to a dead process (gh-94777)
                queue._reader.close()
            thread.join()


def end_all(workers: Sequence[Worker]) -> None:
    """End all workers, busy or idle; a run has `GRACE` seconds to record that it was interrupted."""
    children = multiprocessing.active_children()
    # Twice, since an exception that a signal raises is lost in a library's callback. The second signal comes after
    # CLEANUP (interrupts.py), within which a worker ignores it.
    for share in (0.6, 0.4):
        for child in children:
            child.terminate()
        deadline = time.monotonic() + share * GRACE
        for child in children:
            child.join(max(0, deadline - time.monotonic()))
    for child in children:
        child.kill()
    if server := getattr(forkserver._forkserver, "_forkserver_pid", None):  # it might still start a worker
        os.kill(server, signal.SIGKILL)
    for worker in workers:
        worker.close()


def _how_it_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process exited with code {code}{_memory_limit()}"
    cause = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{cause}"


def _memory_limit() -> str:
    """Say how much memory a process may have, if that is limited: libraries that get none end it with any code."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    except ImportError:  # Windows
        return ""
    limited = limit != resource.RLIM_INFINITY
    return f", perhaps because ulimit -v allows it only {limit / 2**30:.1f} GB of memory" if limited else ""


def _begin(gpu: str | None, lent: Any) -> None:
    """Set up a worker process."""
    THREADS.lent = lent
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # a search for garbage in what the server has imported would take half a second, twice per run
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def _run(task: Task) -> Any:
    if len(task.configs) > 1:
        from src.fused.train_group import train_group

        return train_group(task.configs)
    ret = run_job(
        task_function=task.function,
        config=task.configs[0],
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=task.context,
    )
    if task.quiet:  # the scheduler has the configuration; pickling it takes as long as an epoch
        ret.cfg = ret.hydra_cfg = None
    return ret


def _work(pickled: bytes) -> bytes:
    """Run a job. Return, pickled, what `Worker.result` returns."""
    task, singletons = cloudpickle.loads(pickled)
    Singleton.set_state(singletons)
    setup_globals()
    stderr = io.StringIO()
    try:
        raise_on_signals([signal.SIGTERM])
        with redirect_stdout(io.StringIO()) if task.quiet else nullcontext(), redirect_stderr(stderr):
            ret = _run(task)
    except Interrupted:  # the run has recorded it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except SystemExit as end:
        raise RuntimeError(f"the job called sys.exit({end})") from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.collect()  # frees the data, which are held by a reference cycle in Lightning's trainer
    return cloudpickle.dumps((ret, stderr.getvalue()))
