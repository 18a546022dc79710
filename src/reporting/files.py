"""The files of a report beside its page: frames, tables and figures."""

import re
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import pandas as pd

from src.errors import visible
from src.files import as_cell
from src.reporting import escapes, tables
from src.reporting.figures import figures
from src.reporting.limits_figure import limits_figures
from src.reporting.rendering import rendered
from src.reporting.section import Section
from src.runs.dataframe import Frames

LONGEST = 100  # characters of a title in a file name


def write_frames(frames: Frames, folder: Path) -> None:
    """Write all runs and curves as CSV and Parquet."""
    runs = frames.runs.rename(index=visible)
    curves = frames.curves.rename(index=visible, level="directory")
    mixed = {key: "string" for key in runs if runs[key].dtype == object}
    for name, frame in (("runs", runs.astype(mixed)), ("curves", curves)):
        _write_csv(frame.reset_index(), folder / f"{name}.csv")
        (folder / f"{name}.parquet").write_bytes(frame.to_parquet())  # pyarrow only opens UTF-8 paths


def write_tables(section: Section, folder: Path) -> None:
    """Write a section's tables as CSV, Markdown and LaTeX."""
    grid, prefix = section.grid, section.prefix
    _write_csv(section.numbers, folder / f"{prefix}cells.csv")
    texts = {optimizer: tables.of_optimizer(grid, optimizer) for optimizer in grid.optimizers}
    parts = [f"### {escapes.markdown(each)}\n\n{tables.markdown(table)}" for each, table in texts.items()]
    head = f"## {escapes.markdown(grid.title)}\n\n{tables.legend(grid)}\n\n"
    (folder / f"{prefix}tables.md").write_text(head + "\n".join(parts), encoding="utf-8")
    splits = " / ".join(grid.splits)
    captions = [(f"{each}: accuracy in percent, {splits} ({grid.title})", table) for each, table in texts.items()]
    (folder / f"{prefix}tables.tex").write_text(tables.latex(captions), encoding="utf-8")
    variance = section.variance.shares.items() if section.variance else ()
    contents: dict[str, Iterable[dict[str, object]]] = {
        "pairs": (pair.row for pair in section.pairs),
        "beside": (each.row for each in section.reference.values()),
        "claims": map(asdict, section.claims),
        "limits": section.limits.rows,
        "range_checks": (check.row for check in section.range_checks),
        "variance": ({"term": term, "share": share} for term, share in variance),
    }
    for name, rows in contents.items():
        if table := list(rows):
            _write_csv(pd.DataFrame(table), folder / f"{prefix}{name}.csv")


def _write_csv(frame: pd.DataFrame, file: Path) -> None:
    texts = [key for key in frame if not pd.api.types.is_numeric_dtype(frame[key])]
    frame.assign(**{key: frame[key].map(as_cell, na_action="ignore") for key in texts}).to_csv(file, index=False)


def draw_figures(section: Section, folder: Path) -> list[tuple[str, str]]:
    """Write all figures as SVG, PDF and PNG. Return the caption and the SVG of each."""
    folder.mkdir(exist_ok=True)
    found = chain(figures(section.grid), limits_figures(section.limits))
    drawn: list[tuple[str, str]] = []
    for title, caption, figure in found:
        name = section.prefix + re.sub(r"[^\w.]+", "-", title)[:LONGEST]
        if (folder / f"{name}.svg").exists():  # from another title with the same file name
            name += f"-{len(drawn)}"
        files = rendered(figure)
        for kind, content in files.items():
            (folder / f"{name}.{kind}").write_bytes(content)
        drawn.append((caption, _compact(files["svg"].decode())))
    return drawn


def _compact(svg: str) -> str:
    """Return the SVG element after its tag's name, on one line and with coordinates to a tenth of a point."""
    return re.sub(r"(\d\d\.\d)\d+", r"\1", " ".join(svg.partition("<svg")[2].split()))
