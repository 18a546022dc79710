from multiprocessing import get_context
from pathlib import Path

import pytest

from src.reporting.replaced import replaced


def write(folder: Path, number: int) -> None:
    for _ in range(20):
        with replaced(folder) as partial:
            (partial / "one").write_text(str(number))
            (partial / "other").write_text(str(number))


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.parent.iterdir()} - {".lock"}


def test_two_processes_take_turns(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "all"
    processes = [get_context("spawn").Process(target=write, args=(folder, number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (folder / "one").read_text() == (folder / "other").read_text()
    assert left(folder) == {"all"}


def test_leftovers_of_a_killed_process_are_cleaned_up(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    write(folder, 1)
    folder.rename(tmp_path / ".all.old")  # killed between two renames
    (tmp_path / ".all.partial").mkdir()
    with pytest.raises(ZeroDivisionError), replaced(folder):
        _ = 1 / 0
    assert (folder / "one").read_text() == "1"
    assert left(folder) == {"all"}
