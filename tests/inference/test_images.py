"""The files to predict."""

from pathlib import Path

import pytest

from src.errors import UserError
from src.inference.images import files
from tests.helpers.images import bars, write_pngs
from tests.helpers.users import bound_by_permissions


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # nobody may not search the folders above it
    tmp_path.chmod(0o755)
    write_pngs(Path("bars"), bars(30, 1), bars(30, 2))
    assert len(list(files(["bars/train", "bars/test"]))) == 60
    locked = Path("bars/train/3")
    locked.chmod(0)
    with bound_by_permissions(), pytest.raises(UserError, match=r"^bars/train/3 \(Permission denied\): this folder"):
        list(files(["bars/test", "bars/train"]))
    locked.chmod(0o755)
