"""A report's files: a page that holds all, and the tables, frames and figures by themselves."""

import base64
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg

from src.reporting import tables
from src.reporting.claims import Claim, claims
from src.reporting.comparisons import Pair, by_seeds, name, pairs
from src.reporting.figures import figures
from src.reporting.grid import Cell, Grid, Key
from src.reporting.published import BEYOND, WITHIN, Beside, beside, is_the_assignments
from src.reporting.statistics import ALPHA, percent
from src.runs.frame import Frames
from src.runs.provenance import provenance
from src.runs.run import Run

SAVED: Any = {"svg.hashsalt": "ravine", "svg.fonttype": "path", "pdf.fonttype": 42}  # the same bytes each time


@dataclass(frozen=True)
class Section:
    """What is said of a grid."""

    grid: Grid
    pictures: list[tuple[str, str, str]]  # name, caption, and the SVG as a data URI
    pairs: list[Pair]
    beside: dict[Key, Beside]
    claims: list[Claim]


def write(folder: Path, report: str, frames: Frames, chosen: list[Grid], everything: list[Grid]) -> None:
    """Write a report of the `chosen` grids; claims are decided on `everything` that is there."""
    frames.runs.to_csv(folder / "runs.csv")
    mixed = {key: "string" for key in frames.runs if frames.runs[key].dtype == object}
    frames.runs.astype(mixed).to_parquet(folder / "runs.parquet")
    frames.curves.to_csv(folder / "curves.csv")
    frames.curves.to_parquet(folder / "curves.parquet")
    whole = {grid.digest: grid for grid in everything}
    sections = [
        _section(grid, whole[grid.digest], folder, f"{number}-" if len(chosen) > 1 else "")
        for number, grid in enumerate(chosen, 1)
        if any(len(cell.runs) for cell in grid.cells.values())
    ]
    summary = [sentence for section in sections for sentence in sentences(section)]
    (folder / "summary.txt").write_text("".join(f"{sentence}\n" for sentence in summary), encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"tables": tables, "percent": percent, "name": name, "by_seeds": by_seeds, "anchor": anchor}
    page = environment.get_template("page.html").render(
        report=report, summary=summary, sections=sections, made=_made(frames.runs), damaged=frames.damaged,
        settings=_settings,
    )  # fmt: skip
    (folder / "index.html").write_text(page, encoding="utf-8")


def sentences(section: Section) -> list[str]:
    """What was found, in three sentences at most."""
    grid, cells = section.grid, list(section.grid.cells.values())
    runs, diverged = sum(len(cell.runs) for cell in cells), sum(cell.diverged for cell in cells)
    missing = sum(len(cell.missing) for cell in cells)
    least, most = min(len(cell.runs) for cell in cells), max(len(cell.runs) for cell in cells)
    seeds = f"{f'{least} to ' if least < most else ''}{most} seed{'s' * (most != 1)}"
    lost = f", of which {diverged} diverged" if diverged else ""
    gaps = f"; {missing} are missing" if missing else ""
    said = [f"{grid.title}: {runs} runs in {len(cells)} cells of {seeds}{lost}{gaps}."]
    best = [cell for o in grid.optimizers for batch in grid.batch_sizes if (cell := grid.best(o, batch))]
    if best:
        first = max(best, key=lambda cell: cell.finished.test_accuracy.mean())
        estimate = first.estimate("test_accuracy")
        assert estimate is not None
        worse = sum(pair.winner is first for pair in section.pairs)
        able = any(pair.comparison.least_p * pair.tests < ALPHA for pair in section.pairs)
        told = (
            f"; beyond doubt better than {worse} of the other {len(best) - 1} optimizers and batch sizes at their best"
        )
        told = (told if able else "; so few seeds show no difference to others") if section.pairs else ""
        said.append(f"Best on the test set, and chosen by it: {name(first)} with {percent(estimate)} %{told}.")
    if section.claims:
        count = Counter(claim.verdict for claim in section.claims)
        verdicts = Counter(each.verdict for each in section.beside.values())
        compared = verdicts[WITHIN] + verdicts[BEYOND]
        said.append(
            f"Of {compared} of the assignment's figures that can be compared {verdicts[WITHIN]} lie within noise of "
            "ours; of its 7 claims "
            f"{count['holds']} hold, {count['does not hold']} do not, {count['cannot be told']} cannot be told."
        )
    return said


def anchor(cell: Cell) -> str:
    """Where the page has the cell's settings."""
    return f"cell-{cell.runs.cell.iloc[0]}" if len(cell.runs) else ""


def _section(grid: Grid, whole: Grid, folder: Path, prefix: str) -> Section:
    texts = {optimizer: tables.of_optimizer(grid, optimizer) for optimizer in grid.optimizers}
    tables.numbers(grid).to_csv(folder / f"{prefix}cells.csv", index=False)
    parts = [f"### {optimizer}\n\n{tables.markdown(table)}" for optimizer, table in texts.items()]
    (folder / f"{prefix}tables.md").write_text(
        f"## {grid.title}\n\n{tables.LEGEND}\n\n" + "\n".join(parts), encoding="utf-8"
    )
    assignments = is_the_assignments(grid)
    compared, decided = beside(grid) if assignments else {}, claims(whole) if assignments else []
    found = pairs(grid)
    for file, rows in (
        ("pairs", map(_pair, found)),
        ("beside", map(_beside, compared.values())),
        ("claims", map(asdict, decided)),
    ):
        if table := list(rows):
            pd.DataFrame(table).to_csv(folder / f"{prefix}{file}.csv", index=False)
    captions = [
        (f"{optimizer}: accuracy in percent, train / test ({grid.title})", table) for optimizer, table in texts.items()
    ]
    (folder / f"{prefix}tables.tex").write_text(tables.latex(captions), encoding="utf-8")
    return Section(
        grid,
        _draw(grid, folder / "figures", prefix),
        found,
        compared,
        decided,
    )


def _pair(pair: Pair) -> dict[str, object]:
    c = pair.comparison
    numbers = {
        "seeds": c.difference.n,
        "difference": c.difference.value,
        "low": c.difference.low,
        "high": c.difference.high,
    }
    tested = {"test": c.test, "p": c.p, "p_holm": pair.adjusted, "effect": c.effect, "verdict": pair.verdict}
    return {"one": name(pair.one), "other": name(pair.other)} | numbers | tested


def _beside(each: Beside) -> dict[str, object]:
    ours = each.cell.estimate("test_accuracy")
    published: dict[str, object] = {
        "train_published": each.train,
        "test_published": each.test,
        "test": ours.value if ours else None,
    }
    return (
        {"cell": name(each.cell)}
        | published
        | {"difference": each.difference, "noise": each.noise, "verdict": each.verdict}
    )


def _draw(grid: Grid, folder: Path, prefix: str) -> list[tuple[str, str, str]]:
    """All figures as files, and as data for the page."""
    folder.mkdir(exist_ok=True)
    drawn = []
    with mpl.rc_context(SAVED):
        for title, caption, figure in figures(grid):
            FigureCanvasAgg(figure)
            file = folder / (prefix + re.sub(r"[^\w.]+", "-", title) + ".svg")
            figure.savefig(file, metadata={"Date": None})
            figure.savefig(file.with_suffix(".pdf"), metadata={"CreationDate": None})
            figure.savefig(file.with_suffix(".png"), dpi=150)
            drawn.append((title, caption, f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"))
    return drawn


def _settings(cell: Cell) -> str:
    """What the first of a cell's runs has on record but its figures: settings, data, versions, commit, machine."""
    record = Run(Path(cell.runs.index[0])).record()
    return json.dumps({key: record.get(key) for key in ("settings", "data", "sessions")}, indent=1)


def _made(runs: pd.DataFrame) -> dict[str, Any]:
    """By what the runs and this page were made."""
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
    uncommitted = int(runs.get("dirty", pd.Series(dtype=object)).fillna(False).astype(bool).sum())
    now = datetime.now(timezone.utc).isoformat(timespec="minutes")
    return seen | {"runs of uncommitted code": uncommitted, "this page": f"{now}, commit {provenance().get('commit')}"}
