"""Error figures in a report's page: small, within a budget, and never able to stop a report."""

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.report import report
from src.reporting import error_figures
from src.reporting.grid import grids
from src.reporting.section import Section
from src.runs.dataframe import read
from tests.reporting.synthetic import cell


def found(output: Path) -> dict[str, str]:
    (grid,) = grids(read(output))
    urls = error_figures.error_figures([Section(grid, grid)], lambda directory: f"to/{Path(directory).name}")
    return {cell.name: url for cell, url in urls.items()}


def test_a_figure_is_embedded_with_few_colours(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.98])
    pixels = np.full((60, 120, 3), 255, np.uint8)
    pixels[10:20, 30:50] = (180, 0, 20)
    run.write_error_figure(pixels)
    (url,) = found(tmp_path).values()
    kind, content = url.split(",")
    assert kind == "data:image/webp;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).astype(int)
    assert np.abs(shown - pixels).max() < 10


def test_figures_beyond_the_budget_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for lr, accuracy in ((0.05, 0.98), (0.5, 0.9), (0.005, 0.97)):
        (run,) = cell(tmp_path, "sgd", 64, lr, [accuracy])
        if lr != 0.5:
            run.write_error_figure(np.zeros((60, 120, 3), np.uint8))
    monkeypatch.setattr(error_figures, "BUDGET", 50)
    urls = found(tmp_path)
    assert urls["sgd, batch 64, lr 0.05"].startswith("data:")  # the best cell's
    assert urls["sgd, batch 64, lr 0.005"].startswith("to/sgd-bs64-lr0.005-seed0-")
    assert "sgd, batch 64, lr 0.5" not in urls


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


HEADER = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
ROWS = zlib.compress(bytes(64 * (1 + 3 * 64)), 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg onload='alert(1)'>",
        HEADER,
        HEADER + chunk(b"IDAT", ROWS[:500]),
        HEADER + chunk(b"IDAT", ROWS[:500]) + b"\0\0\0\5\1\2\3\4" + bytes(9),  # no chunk is named so
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)),
    ],
)
def test_a_damaged_figure_is_linked_and_does_not_stop_the_report(content: bytes, tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.98])
    run.error_figure_file.write_bytes(content)
    (url,) = found(tmp_path).values()
    assert url == f"to/{run.directory.name}/error_figure.png"
    assert f"{run.directory.name}/error_figure.png" in report([f"output_dir={tmp_path}"]).read_text()


def test_a_figure_that_webp_cannot_hold_is_linked(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.98])
    run.write_error_figure(np.zeros((2, 20_000, 3), np.uint8))
    (url,) = found(tmp_path).values()
    assert url.startswith("to/")
