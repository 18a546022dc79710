"""Error figures of a report's cells, made small enough for its page."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from src.files import Damaged, read_file
from src.reporting.grid import Cell
from src.reporting.section import Section
from src.runs.directory import Run

BUDGET = 400_000  # bytes of all figures of a page, more or less; those of the best cells come first
LARGEST = 5_000_000  # bytes of a file
NUMBER_OF_COLOURS = 16


def error_figures(sections: list[Section], link: Callable[[str], str]) -> dict[Cell, str]:
    """Return the URL of the error figure of each cell's first finished run: its data as long as the budget lasts.

    `link` returns the URL of a run's folder.
    """
    cells = [
        (section.grid.score(cell), cell)
        for section in sections
        for cell in section.grid.cells.values()
        if len(cell.finished)
    ]
    found: dict[Cell, str] = {}
    left = BUDGET
    for _, cell in sorted(cells, key=lambda each: -each[0]):
        run = Run(Path(cell.finished.index[0]))
        figure = _small(run) if left > 0 else None
        if figure:
            left -= len(figure)
            found[cell] = figure
        elif run.error_figure_file.is_file():
            found[cell] = f"{link(str(run.directory))}/{run.error_figure_file.name}"
    return found


def _small(run: Run) -> str | None:
    """Return the figure with few colours as a data URI; None if there is none, or it is damaged."""
    webp = io.BytesIO()
    try:
        content = io.BytesIO(read_file(run.error_figure_file, largest=LARGEST))
        with Image.open(content, formats=["PNG"]) as figure:
            few = figure.convert("RGB").quantize(NUMBER_OF_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            few.convert("RGB").save(webp, "WEBP", lossless=True)
    except (OSError, Damaged, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/webp;base64,{base64.b64encode(webp.getvalue()).decode()}"
