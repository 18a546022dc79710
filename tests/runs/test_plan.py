from pathlib import Path

import pytest
from filelock import FileLock

from src.runs.announcements import announced, planned


def test_a_full_disk_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("src.runs.announcements.replace_file", full)
    with pytest.raises(OSError, match="No space left"), announced(tmp_path, []):
        pass
    assert list((tmp_path / ".studies").iterdir()) == []


@pytest.mark.parametrize(
    "content", ["[[]]", '[{"directory": "a"}]', '[{"directory": [], "settings": {}, "names": {}}]', "[" * 100_000, "{}"]
)
def test_an_invalid_announcement_is_ignored(content: str, tmp_path: Path) -> None:
    file = tmp_path / ".studies" / "other.json"
    file.parent.mkdir()
    file.write_text(content)
    with FileLock(file.with_suffix(".lock")):  # as a running study does
        assert planned(tmp_path) == []
        assert file.exists()
