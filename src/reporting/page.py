"""The files of a report: a self-contained page, and the tables, frames and figures as separate files."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg

from src.errors import printable
from src.reporting import escapes, left_out, tables
from src.reporting.assignment.candidates import candidates, scores
from src.reporting.assignment.claims import claims
from src.reporting.assignment.reference import is_the_assignments, reference_cells
from src.reporting.comparisons import by_seeds, pairs
from src.reporting.figures import figures
from src.reporting.grid import Cell, Grid
from src.reporting.section import Section, sentences
from src.reporting.statistics import percent
from src.runs.dataframe import Frames
from src.runs.directory import Run
from src.runs.provenance import provenance

SAVED: Any = {"svg.hashsalt": "ravine", "svg.fonttype": "path", "pdf.fonttype": 42}  # for reproducible bytes

LONGEST = 100  # characters of a title in a file name


def write(
    folder: Path,
    report: str,
    frames: Frames,
    chosen: list[Grid],
    everything: list[Grid],
    begin: Callable[[str], None] = lambda _: None,
) -> dict[Path, str]:
    """Write a report of the `chosen` grids; the claims are decided on the grids in `everything`.

    `begin` is called with the title of each grid. Return the damaged files, with the reasons.
    """
    runs = frames.runs.rename(index=printable)
    runs.to_csv(folder / "runs.csv")
    mixed = {key: "string" for key in runs if runs[key].dtype == object}
    (folder / "runs.parquet").write_bytes(runs.astype(mixed).to_parquet())  # pyarrow only opens UTF-8 paths
    curves = frames.curves.rename(index=printable, level="directory")
    curves.to_csv(folder / "curves.csv")
    (folder / "curves.parquet").write_bytes(curves.to_parquet())
    whole = {grid.digest: grid for grid in everything}
    sections = []
    for number, grid in enumerate(chosen, 1):
        if any(len(cell.runs) for cell in grid.cells.values()):
            begin(grid.title)
            sections.append(_section(grid, whole[grid.digest], folder, f"{number}-" if len(chosen) > 1 else ""))
    summary = [sentence for section in sections for sentence in sentences(section)]
    recipes = candidates(chosen)
    recipe_scores = scores(recipes) if len(recipes) > 2 else None  # two are one recipe at its last and best epoch
    if recipe_scores is not None:
        recipe_scores.to_csv(folder / "candidates.csv", index=False)
    (folder / "summary.txt").write_text("".join(f"{sentence}\n" for sentence in summary), encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"tables": tables, "percent": percent, "by_seeds": by_seeds, "anchor": anchor}
    others = dict.fromkeys(left_out.on_other_files(chosen), left_out.OTHER_FILES)
    damaged = frames.damaged | {
        file: why for section in sections for pair in section.pairs for file, why in pair.damaged.items()
    }
    page = environment.get_template("page.html").render(
        report=report, summary=summary, sections=sections, recipe_scores=recipe_scores, made=_made(frames.runs),
        left_out=others | damaged, settings=_settings,
    )  # fmt: skip
    (folder / "index.html").write_text(printable(page), encoding="utf-8")
    return damaged


def anchor(cell: Cell) -> str:
    """Return the HTML id of the cell's settings."""
    return f"cell-{cell.runs.cell.iloc[0]}" if len(cell.runs) else ""


def _section(grid: Grid, whole: Grid, folder: Path, prefix: str) -> Section:
    texts = {optimizer: tables.of_optimizer(grid, optimizer) for optimizer in grid.optimizers}
    tables.numbers(grid).to_csv(folder / f"{prefix}cells.csv", index=False)
    parts = [f"### {escapes.markdown(each)}\n\n{tables.markdown(table)}" for each, table in texts.items()]
    head = f"## {escapes.markdown(grid.title)}\n\n{tables.legend(grid)}\n\n"
    (folder / f"{prefix}tables.md").write_text(head + "\n".join(parts), encoding="utf-8")
    assignments = is_the_assignments(grid)
    compared, decided = reference_cells(grid) if assignments else {}, claims(whole) if assignments else []
    found = pairs(grid)
    for file, rows in (
        ("pairs", (pair.row for pair in found)),
        ("beside", (each.row for each in compared.values())),
        ("claims", map(asdict, decided)),
    ):
        if table := list(rows):
            pd.DataFrame(table).to_csv(folder / f"{prefix}{file}.csv", index=False)
    captions = [
        (f"{optimizer}: accuracy in percent, {' / '.join(grid.splits)} ({grid.title})", table)
        for optimizer, table in texts.items()
    ]
    (folder / f"{prefix}tables.tex").write_text(tables.latex(captions), encoding="utf-8")
    return Section(
        grid,
        _draw(grid, folder / "figures", prefix),
        found,
        compared,
        decided,
    )


def _draw(grid: Grid, folder: Path, prefix: str) -> list[tuple[str, str, str]]:
    """Write all figures as files; return their names, captions and data URIs."""
    folder.mkdir(exist_ok=True)
    drawn: list[tuple[str, str, str]] = []
    with mpl.rc_context(SAVED):
        for title, caption, figure in figures(grid):
            FigureCanvasAgg(figure)
            name = prefix + re.sub(r"[^\w.]+", "-", title)[:LONGEST]
            if (folder / f"{name}.svg").exists():  # from another title with the same file name
                name += f"-{len(drawn)}"
            file = folder / f"{name}.svg"
            figure.savefig(file, metadata={"Date": None})
            figure.set_layout_engine("none")  # keeps this layout, which takes as long as the drawing
            figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
            figure.savefig(folder / f"{name}.png", dpi=150)
            drawn.append((title, caption, f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"))
    return drawn


def _settings(cell: Cell) -> str:
    """Return settings, data and sessions (versions, commit, machine) of a cell's first run, as JSON."""
    record = Run(Path(cell.runs.index[0])).record()
    return json.dumps({key: record.get(key) for key in ("settings", "data", "sessions")}, indent=1)


def _made(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the provenance of the runs and of this page."""
    seen = {}
    for key in (
        "processor",
        "device",
        "kernels",
        "threads",
        "commit",
        *[key for key in runs if key.startswith("version_")],
    ):
        if key in runs:
            seen[key.removeprefix("version_")] = ", ".join(sorted({str(value) for value in runs[key].dropna()}))
    uncommitted = int(runs.get("dirty", pd.Series(dtype=object)).eq(True).sum())
    now = datetime.now(timezone.utc).isoformat(timespec="minutes")
    return seen | {"runs of uncommitted code": uncommitted, "this page": f"{now}, commit {provenance().get('commit')}"}
