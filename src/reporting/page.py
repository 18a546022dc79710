"""A report's page: one HTML file with its charts, which needs no network."""

import hashlib
import json
import os
import re
import shlex
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
import vl_convert

from src.reporting import charts, left_out, tables
from src.reporting.chapter import chapters
from src.reporting.comparisons import by_seeds
from src.reporting.error_figures import error_figures
from src.reporting.files import draw_figures, write_frames, write_tables
from src.reporting.grid import Cell, Grid, divergence
from src.reporting.range_check import summary as range_summary
from src.reporting.scatter import scatter, trials
from src.reporting.section import Section, runs_of, sentences
from src.reporting.statistics import percent
from src.reporting.unfinished import unfinished
from src.runs.dataframe import Frames
from src.runs.directory import Run
from src.runs.provenance import provenance
from src.runs.range_tests import read_range_tests

POLICY = b"THE-POLICY"  # in page.html


def write(
    folder: Path,
    final: Path,
    frames: Frames,
    chosen: list[Grid],
    everything: list[Grid],
    command: str = "",
    begin: Callable[[str], None] = lambda _: None,
) -> dict[Path, str]:
    """Write a report of the `chosen` grids to `folder`, which will be renamed to `final`.

    The claims are decided on the grids in `everything`; `command` trains the runs that are missing. `begin` is called
    with the title of each grid. Return the damaged files, with the reasons.
    """
    background = ThreadPoolExecutor(1)
    library = background.submit(_library)  # takes more than a second, without Python's lock, as images do
    write_frames(frames, folder)
    whole = {grid.digest: grid for grid in everything}
    numbered = enumerate(chosen, 1) if len(chosen) > 1 else [(0, grid) for grid in chosen]
    tests, damaged_tests = read_range_tests(final.parent.parent)
    sections = [
        Section(grid, whole[grid.digest], number, tests)
        for number, grid in numbered
        if any(len(cell.runs) for cell in grid.cells.values())
    ]
    errors = background.submit(error_figures, sections, partial(link, final))
    background.shutdown(wait=False)
    pictures = {}
    for section in sections:
        begin(section.grid.title)
        write_tables(section, folder)
        pictures[section] = draw_figures(section, folder / "figures")
    summary = [sentence for section in sections for sentence in sentences(section)]
    (folder / "summary.txt").write_text("".join(f"{sentence}\n" for sentence in summary), encoding="utf-8")
    damaged = (
        frames.damaged
        | damaged_tests
        | {file: why for section in sections for pair in section.pairs for file, why in pair.damaged.items()}
    )
    gathered = chapters(sections)
    drawn = {section: charts.charts(section.grid) for section in sections}
    scatters = {each: scatter(each) for each in gathered if each.is_search}
    data = {section.id: _data(section, drawn[section]) for section in sections}
    for chapter, (_, spec) in scatters.items():
        part = data.setdefault(chapter.href, {"tables": {}, "specs": {}})
        part["tables"]["trials"], part["specs"]["scatter"] = trials(chapter), spec
    page = _environment(final).get_template("page.html").render(
        report=final.name, output=shlex.quote(str(final.parent.parent)), chapters=gathered, pictures=pictures,
        made=_made(frames.runs), left_out=left_out.runs(chosen) | damaged,
        unfinished=unfinished(frames, command), error_figures=errors.result(),
        charts=drawn, scatters=scatters, data=data,
        files=_files(folder),
        library=library.result(),
    )  # fmt: skip
    (folder / "index.html").write_bytes(_with_policy(page.encode("utf-8", "backslashreplace")))
    return damaged


def _with_policy(page: bytes) -> bytes:
    """Let the page run its own scripts, by their hashes, and load nothing: text from a record may be anybody's."""
    scripts = re.findall(rb'<script type="module">(.*?)</script>', page, re.DOTALL)
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    return page.replace(POLICY, f"{policy}form-action 'none'".encode(), 1)


@cache
def _library() -> str:
    """Return the source of Vega, Vega-Lite and Vega-Embed, which defines `vegaEmbed`."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def anchor(cell: Cell) -> str:
    """Return the HTML id of the cell's settings."""
    return f"cell-{cell.runs.cell.iloc[0]}" if len(cell.runs) else ""


def _environment(final: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {
        "tables": tables,
        "percent": percent,
        "by_seeds": by_seeds,
        "range_summary": range_summary,
        "anchor": anchor,
        "runs_of": runs_of,
        "divergence": divergence,
    }
    environment.globals |= {"settings": _settings, "link": partial(link, final)}
    return environment


def link(final: Path, directory: str) -> str:
    """Return the relative URL of a run's folder, as seen from the page."""
    return quote(os.path.relpath(directory, final).encode("utf-8", "surrogateescape"))


def _data(section: Section, drawn: dict[str, tuple[str, charts.Spec]]) -> dict[str, Any]:
    """Return the tables and specifications of a section's charts."""
    found = charts.tables(section.grid, section.numbers)
    return {"tables": found, "specs": {name: spec for name, (_, spec) in drawn.items()}}


def _files(folder: Path) -> dict[str, list[str]]:
    """Return the suffixes of the files in a folder by their paths without suffixes."""
    found: dict[str, list[str]] = {}
    for path in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        found.setdefault(path.with_suffix("").as_posix(), []).append(path.suffix)
    return found


def _settings(cell: Cell) -> str:
    """Return settings, data and sessions (versions, commit, machine) of a cell's first run, as JSON."""
    record = Run(Path(cell.runs.index[0])).record()
    return json.dumps({key: record.get(key) for key in ("settings", "data", "sessions")}, indent=1)


def _made(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the provenance of the runs and of this page."""
    known = [
        "processor",
        "device",
        "kernels",
        "threads",
        "commit",
        *(key for key in runs if key.startswith("version_")),
    ]
    seen = {
        key.removeprefix("version_"): ", ".join(sorted({str(value) for value in runs[key].dropna()}))
        for key in known
        if key in runs and runs[key].notna().any()
    }
    uncommitted = int(runs.get("dirty", pd.Series(dtype=object)).eq(True).sum())
    now = datetime.now(timezone.utc).isoformat(timespec="minutes")
    return seen | {"runs of uncommitted code": uncommitted, "this page": f"{now}, commit {provenance().get('commit')}"}
