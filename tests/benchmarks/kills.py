"""`python -m tests.benchmarks.kills`: a study that is killed repeatedly, compared with an uninterrupted one."""

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from tests.helpers.commands import REAL, Start, start
from tests.helpers.runs import assert_same

GRID = ("-m", "data=mnist", "model=lenet,mlp", "optimizer=sgd,adagrad,adam", "batch_size=64,256", "epochs=2")


def kill_and_compare(
    output: Path, data_root: Path, grid: tuple[str, ...], kills: int, seed: int, start: Start = start
) -> list[str]:
    """Send SIGKILL to the process group at random moments, then let the study end; return a line per session.

    Raises AssertionError unless the runs are those of the uninterrupted study, bit for bit, and no file is left over.
    """
    lines = []
    began = time.monotonic()
    alone = start(output / "alone", data_root, *grid)
    _, stderr = alone.communicate()
    assert alone.returncode == 0, stderr
    length = time.monotonic() - began
    runs = sorted(file.parent.relative_to(output / "alone") for file in output.glob("alone/*/*/*/run.json"))
    lines.append(f"left alone: {len(runs)} runs in {length:.1f} s")

    moments, killed = random.Random(seed), output / "killed"
    for kill in range(1, kills + 1):
        process = start(killed, data_root, *grid)
        moment = moments.uniform(0, length / 3)  # so that there is still something to kill at the last
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        checkpoints = len(list(killed.rglob("last.ckpt")))
        done = sum('"status": "finished"' in file.read_text() for file in killed.rglob("run.json"))
        lines.append(f"kill {kill:>2} after {moment:5.1f} s: {done} runs finished, {checkpoints} begun")
    last = start(killed, data_root, *grid)
    _, stderr = last.communicate()
    assert last.returncode == 0, stderr

    assert sorted(file.parent.relative_to(killed) for file in killed.glob("*/*/*/run.json")) == runs
    for run in runs:
        assert_same(output / "alone" / run, killed / run)
        names = {path.name for path in (killed / run).iterdir()} - {".lock"}
        left_alone = {path.name for path in (output / "alone" / run).iterdir()} - {".lock"}
        assert sorted(name.partition("tfevents")[0] for name in names) == sorted(
            name.partition("tfevents")[0] for name in left_alone
        )
    lines.append(
        f"{len(runs)} runs, after {kills} kills: figures, curves, weights and optimizer states equal bit for bit"
    )
    return lines


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in kill_and_compare(Path(folder), REAL, GRID, arguments.kills, arguments.seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
