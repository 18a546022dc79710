"""Files that a user names as output."""

import os
import re
import socket
from pathlib import Path

import pytest

from src.errors import UserError
from src.files import replace_file
from src.inference.arguments import check_output
from tests.helpers.users import bound_by_permissions


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of each kind; the working directory, since a socket's path must be short."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    Path("folder").mkdir()
    Path("file").write_text("old")
    Path("link").symlink_to("file")
    Path("dangling").symlink_to("nowhere")
    Path("to_folder").symlink_to("folder")
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    return tmp_path


@pytest.mark.parametrize("name", ["new.csv", "file", "folder/new", "to_folder/new", "a" * 246])
def test_a_new_or_regular_file_is_allowed_and_nothing_is_left(name: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    check_output(Path(name), name)
    assert sorted(place.rglob("*")) == before
    assert Path("file").read_text() == "old"
    replace_file(Path(name), b"new")
    assert Path(name).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("folder", "a folder"),
        (".", "a folder"),
        ("/", "a folder"),
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("to_folder", "a symbolic link"),
        ("fifo", "a FIFO"),
        ("socket", "a socket"),
        ("/dev/null", "a device"),
    ],
)
def test_another_kind_is_refused(name: str, kind: str, place: Path) -> None:
    before = {path: path.lstat() for path in place.rglob("*")}
    with pytest.raises(UserError) as refused:
        check_output(Path(name), f"csv={name}")
    said = f"csv={name}: is {kind}; name a file that does not exist yet, or a regular file"
    assert str(refused.value) == said
    assert {path: path.lstat() for path in place.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no/out.csv", "no does not exist; create that folder, or name a file in another one"),
        ("file/out.csv", "file is not a folder; create that folder"),
        ("fifo/out.csv", "fifo is not a folder"),
        ("/proc/out.csv", "cannot be written in /proc ("),
        ("a" * 247, "cannot be written in . (File name too long); name another file"),
        ("a" * 256, "cannot be written in . (File name too long); name another file"),
        ("a" * 256 + "/b", "File name too long; name another file"),
    ],
)
def test_a_place_where_no_file_can_be_is_named(name: str, says: str) -> None:
    with pytest.raises(UserError, match=f"^csv={re.escape(name)}: {re.escape(says)}"):
        check_output(Path(name), f"csv={name}")


def test_a_folder_that_cannot_be_written_is_named() -> None:
    Path("folder").chmod(0o555)
    with (
        bound_by_permissions(),
        pytest.raises(UserError, match=r"^csv=folder/a: cannot be written in folder \(Permission denied\); name"),
    ):
        check_output(Path("folder/a"), "csv=folder/a")
    Path("folder").chmod(0)
    with bound_by_permissions(), pytest.raises(UserError, match=r"^csv=folder/a/b: Permission denied; name another"):
        check_output(Path("folder/a/b"), "csv=folder/a/b")
    Path("folder").chmod(0o755)
