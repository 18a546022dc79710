"""`python -m tests.benchmarks.memory`: peak memory of launcher and workers while they train many small runs."""

import os
import tempfile
import time
from pathlib import Path

from src.runs.provenance import machine
from tests.helpers.commands import ROOT, processes, start

RUNS = 60
GRID = ("-m", "data=digits", "model=mlp", "epochs=2", f"seed=range({RUNS})", "hydra.launcher.workers=2")


def status(process: int, key: str) -> int:
    """Return a number from /proc/<process>/status, or 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)


def main() -> None:
    """Print a line after every sixth run."""
    with tempfile.TemporaryDirectory() as folder:
        study = start(Path(folder), ROOT, *GRID)
        told = -1
        print(" runs done  launcher and workers: most resident memory so far, MB")
        while study.poll() is None:
            done = sum('"finished"' in file.read_text() for file in Path(folder).rglob("run.json"))
            if done % 6 == 0 and done != told and done:
                told = done
                # A worker's parent is the server from which it was forked.
                workers = [
                    each for each in processes(study.pid) if status(each, "PPid") not in (0, study.pid, os.getpid())
                ]
                peaks = [f"{status(each, 'VmHWM') / 1024:8.0f}" for each in (study.pid, *workers)]
                print(f"{done:>10}  {'  '.join(peaks)}", flush=True)
            time.sleep(0.05)
        _, stderr = study.communicate()
        assert study.returncode == 0, stderr
    print(machine())


if __name__ == "__main__":
    main()
