"""Files of range tests: a JSON per row, and a CSV and a figure of the rows of one data set and model."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from src.files import as_cell, replace_files
from src.range_test.result import Result
from src.runs.provenance import provenance

COLUMNS = (
    "optimizer", "batch_size", "settings", "seed", "begins", "valley", "steepest", "diverges", "low", "high", "seen",
    "from", "to", "steps", "losses",
)  # fmt: skip


def write_json(result: Result) -> None:
    """Write a row's file; a loss that is not finite becomes null."""
    row = result.row
    seeds = [
        {"seed": seed, "losses": [loss if math.isfinite(loss) else None for loss in losses.tolist()], **asdict(points)}
        for seed, losses, points in zip(row.seeds, result.losses, result.points, strict=True)
    ]
    content = {
        "settings": asdict(row.settings),
        "names": asdict(row.names),
        "data_sha256": result.data_sha256,
        "from": float(result.lrs[0]),
        "to": float(result.lrs[-1]),
        "steps": len(result.lrs),
        "interval": result.interval,
        "seen": result.seen,
        "seeds": seeds,
        **provenance(),
    }
    _replace({row.file: json.dumps(content, indent=1, allow_nan=False).encode()})


def write_table_and_figure(results: Sequence[Result]) -> None:
    """Write `lr_range.csv`, `.svg`, `.pdf` and `.png` of rows of one data set and model."""
    from src.range_test.figure import draw  # imports matplotlib, which is slow
    from src.reporting.rendering import rendered

    folder = results[0].row.file.parent
    contents = {folder / f"lr_range.{name}": content for name, content in rendered(draw(results)).items()}
    _replace({folder / "lr_range.csv": _table(results), **contents})


def _replace(contents: dict[Path, bytes]) -> None:
    """Replace files of one folder. Commands that run at the same time take turns."""
    folder = next(iter(contents)).parent
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        replace_files(contents)


def _table(results: Sequence[Result]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for result in results:
        row, (low, high) = result.row, result.interval
        for seed, losses, points in zip(row.seeds, result.losses, result.points, strict=True):
            cells = (
                {"optimizer": row.names.optimizer, "batch_size": row.settings.batch_size}
                | {"settings": row.label.strip(), "seed": seed, "low": low, "high": high, **asdict(points)}
                | {"from": result.lrs[0], "to": result.lrs[-1], "steps": len(result.lrs), "losses": len(losses)}
            )
            table.writerow({key: as_cell(value) for key, value in cells.items()})
    return text.getvalue().encode()
