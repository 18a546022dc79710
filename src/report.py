"""`python -m src.report`: tables, figures and a page of all runs, or of the runs of a study."""

import gc
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from rich.console import Console

from src.config.settings import ConfigChoices, Settings, directory
from src.display.report_progress import reported
from src.errors import UserError, errors_in_one_line
from src.interrupts import interruptible, raise_interrupts
from src.reporting import left_out
from src.reporting.grid import Grid, grids
from src.reporting.page import write
from src.reporting.replaced import replaced
from src.reporting.statistics import counted
from src.runs.dataframe import Frames, choose, read
from src.runs.record import ENDED

SHOWN = 18  # missing runs that an error names
USAGE = """python -m src.report [+study=NAME] [SETTING=VALUE ...] [output_dir=outputs] [allow_missing=true]

Without a study or settings: all runs in output_dir. With them: the runs that `python -m src.train` trains with the
same arguments, with all seeds found unless seed= is given. Written to output_dir/reports/."""


def report(arguments: list[str]) -> Path:
    """Write the report that the arguments select, and print on stderr what it leaves out.

    Return the path of its page. Raises UserError.
    """
    words = OverridesParser.create().parse_overrides([each for each in arguments if each not in ("-m", "--multirun")])
    allow_missing = _allow_missing(words)
    words = [word for word in words if word.key_or_group != "allow_missing"]
    output, overrides = _output(words), [str(word.input_line) for word in words]
    if all(override.startswith(("output_dir=", "++output_dir=")) for override in overrides):
        frames, name = read(output), "all"
        chosen = frames
    else:
        from src.config.selection import select  # slow to import, and not needed for a report of all runs

        if any(word.key_or_group == "study" and word.is_sweep_override() for word in words):
            raise UserError("study: a report covers one study; give one name")
        selection = select(overrides)
        output, frames = selection.output, read(selection.output)
        name = next((Path(str(word.value())).name for word in words if word.key_or_group == "study"), "selection")
        wanted = selection.runs if selection.asks_for_seeds else _of_all_seeds(selection.runs, frames, output)
        if len(data := sorted({settings.data for settings, _ in wanted})) > 1:
            raise UserError(f"data={','.join(data)}: a report of a study covers one data set; give one")
        chosen = choose(frames, output, wanted)
        of_it = {file: why for file, why in frames.damaged.items() if str(file.parent) in chosen.runs.index}
        chosen = replace(chosen, damaged=of_it)
        if not allow_missing:
            _refuse_missing(chosen, output, overrides)
    if not chosen.runs.status.isin(ENDED).any():
        if chosen.damaged:
            damaged = f"{left_out.named(chosen.damaged)}; {left_out.REPAIR}"
            raise UserError(f"{output}: contains no readable ended run; damaged: {damaged}")
        raise UserError(
            f"{output}: contains no ended run; train one with python -m src.train, or choose another folder with "
            "output_dir="
        )
    return _write(output / "reports" / name, chosen, frames, _command(chosen, overrides))


def _allow_missing(words: list[Override]) -> bool:
    for word in words:
        if word.key_or_group == "allow_missing" and not isinstance(word.value(), bool):
            raise UserError(f"{word.input_line}: must be allow_missing=true or allow_missing=false")
    return any(word.key_or_group == "allow_missing" and word.value() for word in words)


def _output(words: list[Override]) -> Path:
    """Return the output directory that the arguments give, without composing the configuration. Raises UserError."""
    output = "outputs"
    for word in words:
        if word.key_or_group == "output_dir":
            value = OmegaConf.create({"output_dir": None if word.is_sweep_override() else word.value()}).output_dir
            if value == "" or not isinstance(value, str | int):
                raise UserError(f"{word.input_line}: must name a folder; try output_dir=outputs")
            output = str(value)
    return Path(output)


def _of_all_seeds(
    runs: list[tuple[Settings, ConfigChoices]], frames: Frames, output: Path
) -> list[tuple[Settings, ConfigChoices]]:
    """Return the same cells with every seed that any of them has a run of, including damaged runs."""
    cells = {replace(settings, seed=0).digest for settings, _ in runs}
    there = {int(seed) for seed in frames.runs.seed[frames.runs.cell.isin(cells)]} if len(frames.runs) else set()
    for file in frames.damaged:
        if found := re.search(r"-seed(\d+)-", file.parent.name):
            of_seed = ((replace(settings, seed=int(found[1])), names) for settings, names in runs)
            if any(output / directory(*each) == file.parent for each in of_seed):
                there.add(int(found[1]))
    seeds = sorted(there) or sorted({settings.seed for settings, _ in runs})
    return [(replace(settings, seed=seed), names) for seed in seeds for settings, names in runs]


def _refuse_missing(chosen: Frames, output: Path, overrides: list[str]) -> None:
    """Raise UserError if runs are missing, naming them and the command that trains them."""
    missing = chosen.runs[~chosen.runs.status.isin(ENDED)]
    if len(missing):
        names = [
            f"{r.optimizer} {r.schedule} batch {r.batch_size} lr {r.lr:g} seed {r.seed}" for r in missing.itertuples()
        ]
        names = [name.replace(" constant", "") for name in names]
        whole = sorted({int(seed) for seed in chosen.runs.seed} - {int(seed) for seed in missing.seed})
        instead = f"; or report the complete seeds with seed={','.join(map(str, whole))}" if whole else ""
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        damaged = f", of which damaged: {left_out.named(chosen.damaged)}; {left_out.REPAIR}" if chosen.damaged else ""
        raise UserError(
            f"{len(missing)} of {counted(len(chosen.runs), 'run')} {'is' if len(missing) == 1 else 'are'} missing in "
            f"{output}: {shown}{damaged}; train them with `{_command(chosen, overrides)}`{instead}; or leave them out "
            "with allow_missing=true"
        )


def _command(chosen: Frames, overrides: list[str]) -> str:
    """Return the command that trains the chosen runs."""
    others = [each for each in overrides if each.partition("=")[0] != "seed"]
    seeds = "seed=" + ",".join(str(int(seed)) for seed in sorted(chosen.runs.seed.unique()))
    several = [] if len(chosen.runs) == 1 or any(each.startswith("+study=") for each in others) else ["-m"]
    return shlex.join(["python", "-m", "src.train", *several, *others, seeds])


def _write(folder: Path, chosen: Frames, everything: Frames, command: str) -> Path:
    """Write a report in place of the previous one, and print what it leaves out. Return the path of its page."""
    raise_interrupts()
    own = whole = grids(chosen)
    if chosen is not everything:
        whole = [same for grid in own for same in grids(everything.of(_alike(grid, everything.runs)))]
    with replaced(folder) as partial, reported(len(own)) as begin:
        damaged = write(partial, folder, chosen, own, whole, command, begin)
    left_out.tell(damaged, own, chosen.other_recipes)
    return folder / "index.html"


def _alike(grid: Grid, runs: pd.DataFrame) -> "pd.Index[str]":
    """Return the runs with the settings, seeds, data files and code of a grid."""
    same_files = runs.data_sha256.isna() | (runs.data_sha256 == grid.data_sha256)
    alike = runs.index[(runs.grid == grid.digest) & runs.seed.isin(grid.seeds) & same_files]
    return alike.difference(pd.Index(list(grid.on_other_code), dtype=object), sort=False)


@interruptible("no report was written; an earlier one is unchanged")
def main() -> None:
    """Run the command; print an error as one line and exit with its code."""
    if set(sys.argv[1:]) & {"-h", "--help"}:
        print(USAGE)
        return
    gc.freeze()  # libraries ask for collections, each of which would walk all that was imported
    console = Console(markup=False, highlight=False)
    with errors_in_one_line():
        page = report(sys.argv[1:])
    console.print((page.parent / "summary.txt").read_text(encoding="utf-8"), end="", soft_wrap=True)
    console.print(
        f"page      {page}\ntables    {page.parent}/*.csv, *.md, *.tex, runs.parquet\nfigures   {page.parent}/figures/",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
