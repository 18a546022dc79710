"""`python -m src.status`: progress of the runs in an output directory, whichever process trains them."""

import argparse
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from src.display.accuracy_table import tables
from src.display.sweep_progress import SweepProgress
from src.errors import one_line, visible
from src.interrupts import Interrupted, interruptible, raise_interrupts
from src.runs.announcements import planned
from src.runs.directory import Run
from src.runs.state import State, read_state, records

SECONDS = 1.0  # between two polls


class Onlooker:
    """Polls the runs of an output directory. Ended runs are read only once."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.ended: dict[Path, tuple[int, State]] = {}  # with the record's mtime, which changes if a run is repeated
        self.damaged: dict[Path, str] = {}

    def states(self) -> list[State]:
        """Return the states of all runs on disk, and of the runs that live studies have not started."""
        states = {state.directory: state for state in planned(self.output)}
        self.damaged = {}
        for file in records(self.output):
            state = self._look(file)
            if state is None:
                self.damaged |= self._damage(file)
            elif state.directory in states and state.status == "interrupted":
                states[state.directory] = replace(state, status="to do")  # the study will resume it
            else:
                states[state.directory] = state
        return list(states.values())

    def _damage(self, file: Path) -> dict[Path, str]:
        try:
            return Run(file.parent).damage()
        except OSError as error:
            return {file: one_line(error)}

    def _look(self, file: Path) -> State | None:
        try:
            written = file.stat().st_mtime_ns
        except OSError:  # cleared to be repeated, or damaged
            return None
        known = self.ended.get(file)
        if known and known[0] == written:
            return known[1]
        state = read_state(Run(file.parent))
        if state and state.ended:
            self.ended[file] = written, state
        return state


@interruptible()
def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m src.status", description="Show the progress of runs.")
    parser.add_argument(
        "output",
        nargs="?",
        default="outputs",
        type=Path,
        help="an output directory or part of one, such as outputs/mnist/lenet; or output_dir=... (default: outputs)",
    )
    parser.add_argument("--watch", action="store_true", help="keep updating until Ctrl-C")
    arguments = parser.parse_args()
    arguments.output = Path(str(arguments.output).removeprefix("output_dir="))
    if not arguments.output.is_dir():
        parser.error(f"{arguments.output}: there is no such directory; give the output_dir of the runs")
    console, onlooker, progress = Console(markup=False, highlight=False), Onlooker(arguments.output), SweepProgress()
    if arguments.watch:
        with suppress(Interrupted):
            watch(onlooker, progress, console)
    states = onlooker.states()
    progress.epoch_times.note(states)
    progress.compare(states)
    for line in (progress.line(states), *progress.running(states)):
        console.print(line, soft_wrap=True)
    progress.print_results(states, console)
    for file, why in onlooker.damaged.items():
        console.print(visible(f"{file}: damaged ({why}); training the run again renames it"), soft_wrap=True)


def watch(onlooker: Onlooker, progress: SweepProgress, console: Console) -> None:
    """Redraw the progress every second; without a terminal, print a line when something has changed."""
    last = ""
    raise_interrupts()
    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else nullcontext() as live:
        while True:
            states = onlooker.states()
            progress.epoch_times.note(states)
            if live:
                progress.compare(states)
                below = (part for captioned in tables(states) for part in captioned)
                live.update(Group(progress.picture(states), *below), refresh=True)
            elif (line := progress.line(states)).partition("ETA")[0] != last.partition("ETA")[0]:
                console.print(line, soft_wrap=True)
                console.file.flush()
                last = line
            time.sleep(SECONDS)


if __name__ == "__main__":
    main()
