"""Names with characters that are special in LaTeX, Markdown, HTML, matplotlib or file systems."""

import io
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from src.report import report
from src.reporting import tables
from src.reporting.grid import grids
from src.runs.dataframe import read
from tests.reporting.synthetic import cell

NAMES = (
    "a_b&c", "100%", "$x$", r"$\frac$", "#1", "{", "}", "x^2", "~me", r"\input", "<b>", "a|b", "_hidden", "ü", "a`b*",
    "two\nlines",
)  # fmt: skip
LITERAL = re.compile(r"\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}|\\[&%$#_{}]|[^\\&%$#_{}~^<>|]")


def read_latex(text: str) -> str:
    """Return the text that LaTeX typesets; fail if a character would be a command."""
    signs = {"backslash": "\\", "asciitilde": "~", "asciicircum": "^", "less": "<", "greater": ">", "bar": "|"}
    read, at = "", 0
    while at < len(text):
        token = LITERAL.match(text, at)
        assert token, text[at:]
        read += signs[token[1]] if token[1] else token[0].removeprefix("\\")
        at = token.end()
    return read


@pytest.mark.parametrize("name", NAMES)
def test_latex_and_markdown_show_names_literally(name: str, tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98], name=name)
    (grid,) = grids(read(tmp_path))
    name = name.replace("\n", "\\n")  # what would steer a terminal is escaped when a record is read
    assert grid.optimizers == [name]
    table = pd.DataFrame([[name, "98.0 ± 2.5"]], columns=["batch", name])
    latex = tables.latex([(name, table)])
    one_line = name.replace("\n", " ")
    (caption,) = re.findall(r"^\\caption\{(.*)\}$", latex, re.MULTILINE)
    assert read_latex(caption) == one_line
    head, row = re.findall(r"^(.*) & (.*) \\\\$", latex, re.MULTILINE)
    assert (read_latex(head[1]), read_latex(row[0]), row[1]) == (one_line, one_line, r"98.0 $\pm$ 2.5")
    for line in tables.markdown(table).splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
        assert not re.search(r"(?<!\\)<", line)


def test_a_report_shows_names_literally(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        cell(tmp_path, "sgd", 64, 0.05, [0.98 + number / 1000], name=name)
        cell(tmp_path, "sgd", 64, 0.5, [0.9], name=name)
    page = report([f"output_dir={tmp_path}"])
    text = page.read_text()
    assert "<b>" not in text
    assert "<h4>&lt;b&gt;</h4>" in text
    assert len(list((page.parent / "figures").glob("loss-*.svg"))) == len(NAMES)


def test_a_folder_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    output = tmp_path / os.fsdecode(b"out\xff")
    cell(output, "sgd", 64, 0.05, [0.98, 0.99])
    (typed,) = cell(output, "adam", 64, 0.05, [0.97])
    typed.update(sessions=[typed.record()["sessions"][0] | {"command": [os.fsdecode(b"output_dir=out\xff")]}])
    (damaged,) = cell(output, "adam", 64, 0.5, [0.97])
    damaged.record_file.write_text("{")
    page = report([f'output_dir="{output}"'])
    text = page.read_text(encoding="utf-8")
    assert r"out\udcff/mnist/lenet/sgd-bs64" in text
    assert f"{damaged.directory.name}/run.json" in text
    assert "2.15.0" in text  # only in the runs' records
    kept = (io.BytesIO((page.parent / f"{name}.parquet").read_bytes()) for name in ("runs", "curves"))
    runs, curves = map(pd.read_parquet, kept)
    assert runs.index.tolist() == pd.read_csv(page.parent / "runs.csv", index_col=0).index.tolist()
    assert all(directory.startswith(str(tmp_path / r"out\udcff")) for directory in runs.index)
    assert len(curves) == 3 * 20
    for table in page.parent.glob("*tables.*"):
        table.read_text(encoding="utf-8")
