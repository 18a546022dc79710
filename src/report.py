"""`python -m src.report`: all runs, or those of a study, as tables, figures and a page."""

import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from src.errors import UserError, exit_code, have_hydra_raise, one_line, traceback_wanted
from src.reporting.grid import grids
from src.reporting.page import write
from src.runs.frame import Frames, choose, read
from src.runs.record import ENDED
from src.runs.settings import KEYS, KEYS_OF_NO_CONSEQUENCE, Names, Settings

SHOWN = 18  # names of missing runs
USAGE = """python -m src.report [+study=NAME] [SETTING=VALUE ...] [output_dir=outputs] [allow_missing=true]

Without a study or settings: all runs in output_dir. With them: the runs that `python -m src.train` with the same words
trains, of every seed that is there unless seed= is given. Written under output_dir/reports/."""


def report(arguments: list[str]) -> Path:
    """Write the report that the command's arguments ask for; its page. Raises UserError."""
    allow_missing, overrides = False, []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in ("-m", "--multirun"):
            continue
        if key != "allow_missing":
            overrides.append(argument)
        elif value not in ("true", "false"):
            raise UserError(f"{argument}: must be allow_missing=true or allow_missing=false")
        else:
            allow_missing = value == "true"
    if all(override.startswith("output_dir=") for override in overrides):
        output = Path(overrides[-1].partition("=")[2] if overrides else "outputs")
        frames, name = read(output), "all"
        chosen = frames
    else:
        from src.selection import select  # Hydra's, which a report of all does without

        selection = select(overrides)
        output, frames = selection.output, read(selection.output)
        name = next((each.partition("study=")[2] for each in overrides if each.startswith("+study=")), "selection")
        wanted = selection.runs if selection.asks_for_seeds else _of_all_seeds(selection.runs, frames)
        if len(data := sorted({settings.data for settings, _ in wanted})) > 1:
            raise UserError(f"data={','.join(data)}: a table of a study mixes no data sets; ask for one")
        chosen = choose(frames, output, wanted)
        if not allow_missing:
            _refuse_missing(chosen, output, overrides)
    if not chosen.runs.status.isin(ENDED).any():
        raise UserError(
            f"{output}: no run has ended there; python -m src.train trains one, output_dir= names another place"
        )
    return _replace(output / "reports" / name, chosen, frames)


def _of_all_seeds(runs: list[tuple[Settings, Names]], frames: Frames) -> list[tuple[Settings, Names]]:
    """The same cells, of every seed that one of them has a run of."""
    cells = {replace(settings, seed=0).digest for settings, _ in runs}
    there = {int(seed) for seed in frames.runs.seed[frames.runs.cell.isin(cells)]} if len(frames.runs) else set()
    seeds = sorted(there) or sorted({settings.seed for settings, _ in runs})
    return [(replace(settings, seed=seed), names) for seed in seeds for settings, names in runs]


def _refuse_missing(chosen: Frames, output: Path, overrides: list[str]) -> None:
    """Name what is missing, and the command that would train it."""
    missing = chosen.runs[~chosen.runs.status.isin(ENDED)]
    if len(missing):
        names = [
            f"{r.optimizer} {r.schedule} batch {r.batch_size} lr {r.lr:g} seed {r.seed}" for r in missing.itertuples()
        ]
        names = [name.replace(" constant", "") for name in names]
        whole = sorted({int(seed) for seed in chosen.runs.seed} - {int(seed) for seed in missing.seed})
        instead = f"; or report the seeds that are whole, seed={','.join(map(str, whole))}" if whole else ""
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        others = [each for each in overrides if each.partition("=")[0] != "seed"]
        seeds = "seed=" + ",".join(str(int(seed)) for seed in sorted(chosen.runs.seed.unique()))
        several = [] if len(chosen.runs) == 1 or any(each.startswith("+study=") for each in others) else ["-m"]
        command = shlex.join(["python", "-m", "src.train", *several, *others, seeds])
        raise UserError(
            f"{len(missing)} of {len(chosen.runs)} runs are missing in {output}: {shown}; train them by `{command}`"
            f"{instead}; or go on without them by allow_missing=true"
        )


def _replace(folder: Path, chosen: Frames, everything: Frames) -> Path:
    """Write a report beside the old one of its name, and put it in its place when it is whole."""
    partial, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{state}") for state in ("partial", "old"))
    partial.mkdir(parents=True)
    try:
        own = whole = grids(chosen)
        if chosen is not everything:
            alike = everything.runs.grid.isin(chosen.runs.grid) & everything.runs.seed.isin(chosen.runs.seed)
            whole = grids(everything.of(everything.runs.index[alike]))
        write(partial, folder.name, chosen, own, whole)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return folder / "index.html"


def main() -> None:
    """The command, its errors as one line and an exit code."""
    if set(sys.argv[1:]) & {"-h", "--help"}:
        print(USAGE)
        return
    have_hydra_raise()
    console = Console(markup=False, highlight=False)
    try:
        page = report(sys.argv[1:])
    except Exception as error:
        if traceback_wanted():
            raise
        print(one_line(error, KEYS | KEYS_OF_NO_CONSEQUENCE), file=sys.stderr)
        sys.exit(exit_code(error))
    console.print((page.parent / "summary.txt").read_text(encoding="utf-8"), end="", soft_wrap=True)
    console.print(
        f"page      {page}\ntables    {page.parent}/*.csv, *.md, *.tex, runs.parquet\nfigures   {page.parent}/figures/",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
