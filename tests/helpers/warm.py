"""Commands forked from a process that has imported everything, which otherwise takes each of them seconds."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The child leaves the loop, so that it runs and ends as a process of its own.
TEMPLATE = """
import atexit, gc, json, os, signal, sys, threading, traceback
import matplotlib.backends.backend_agg, pandas, scipy.stats, sklearn.datasets, statsmodels.api
import src.evaluate, src.export, src.predict, src.report, src.status, src.train, src.hydra_plugins.optuna_sweeper
import src.lr_range, src.range_test.figure, src.range_test.losses, src.range_test.workers
import src.fused.train_group, src.sweep.scheduler, src.training.error_figure, src.training.trainer

gc.freeze()  # else each child's searches for garbage would copy this process's memory
for line in sys.stdin:
    request = json.loads(line)
    if not (child := os.fork()):
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
else:
    os._exit(0)
signal.alarm(300)  # a command that hangs
nowhere = os.open(os.devnull, os.O_RDONLY)
os.dup2(nowhere, 0)
for number, name in ((1, "stdout"), (2, "stderr")):
    os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
os.environ.clear()
os.environ.update(request["env"])
sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
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


class WarmCommands:
    """Runs `python -m MODULE ARGUMENTS` in forks of one process."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.folder, self.number = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", TEMPLATE],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, module: str, arguments: Sequence[str], env: Mapping[str, str], fork: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end. `fork`: its workers are forked, too, instead of started by a forkserver."""
        self.number += 1
        files = {name: str(self.folder / f"{self.number}.{name}") for name in ("stdout", "stderr")}
        request = {"module": module, "arguments": list(arguments), "env": dict(env), "fork": fork, **files}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        stdout, stderr = (Path(file).read_text() for file in files.values())
        return subprocess.CompletedProcess([sys.executable, "-m", module, *arguments], code, stdout, stderr)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
