"""Text in files that anybody could have written steers no terminal and is no formula."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import UserError, one_line, visible
from src.files import Damaged, as_cell
from src.reporting.files import _write_csv
from src.runs.directory import Run
from src.runs.record import parse_record
from src.runs.state import read_state
from tests.reporting.synthetic import cell

STEERING = "\x1b[2Jgone\x07\u202e\x9b31m"


@given(st.text())
def test_visible_text_is_printable_and_valid(text: str) -> None:
    assert visible(text).isprintable()
    visible(text).encode()
    assert visible(visible(text)) == visible(text)
    assert (visible(text) == text) == text.isprintable()


def test_errors_are_visible() -> None:
    assert one_line(UserError(STEERING)) == "\\x1b[2Jgone\\x07\\u202e\\x9b31m"


def test_a_record_s_text_is_escaped_when_it_is_read(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "adam", 64, 0.05, [0.9])
    record = json.loads(run.record_file.read_text())
    record["names"]["optimizer"] = record["error"] = STEERING
    record["data"]["classes"] = [STEERING, "b"]
    run.record_file.write_text(json.dumps(record))
    state = read_state(run)
    assert state
    assert state.error.isprintable()
    assert state.display_name.isprintable()
    assert all(name.isprintable() for name in Run(run.directory).record()["data"]["classes"])
    record["settings"]["data"] = STEERING
    with pytest.raises(Damaged, match=r"settings\.data"):
        parse_record(json.dumps(record).encode(), run.digest)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.sampled_from(["=1+1", "+SUM(A1)", "-2 ± 1", "@x", "\tx"])))
def test_no_cell_is_a_formula(value: object) -> None:
    found = as_cell(value)
    if isinstance(value, str) and found != value:
        assert found == f"'{value}"
    else:
        assert found is value
    try:
        float(str(found))
    except ValueError:
        assert str(found)[:1] not in {"=", "+", "-", "@", "\t", "\r"}


def test_tables_hold_numbers_as_they_are(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["=cmd()", "-3.5", None], "value": [-1.5, 2.0, 3.0], "count": [-1, 2, 3]})
    _write_csv(frame, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["name", "value", "count"],
            ["'=cmd()", "-1.5", "-1"],
            ["-3.5", "2.0", "2"],
            ["", "3.0", "3"],
        ]
