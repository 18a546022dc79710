"""The commit of a run's code, and whether the code may differ from it."""

import subprocess
from pathlib import Path

import pytest

from src.runs.provenance import repository


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, and with ignored and other files that are no code."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # of a hook that runs the tests
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "clone"
    write(folder, "src/runs/provenance.py", "src/native/training.cpp", "conf/config.yaml", "README.md")
    (folder / ".gitignore").write_text("/ignored/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "first")
    write(folder, "ignored/mine.py", "images/1.png", "notes.txt", "results/mnist/mlp/run/.hydra/config.yaml")
    return folder


def write(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_clone_is_clean_also_with_images_results_and_ignored_code(clone: Path) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    for folder in (clone, clone / "src" / "runs"):
        assert repository(folder) == {"commit": commit, "dirty": False}


@pytest.mark.parametrize("name", ["src/native/training.cpp", "README.md", "conf/config.yaml"])
def test_a_changed_or_removed_tracked_file_is_dirty(name: str, clone: Path) -> None:
    write(clone / "src", "mine.txt")
    (clone / name).write_text("changed")
    assert repository(clone / "src" / "runs")["dirty"] is True
    git(clone, "checkout", "--quiet", ".")
    assert repository(clone / "src" / "runs")["dirty"] is False
    (clone / name).unlink()
    assert repository(clone / "src" / "runs")["dirty"] is True


@pytest.mark.parametrize("name", ["mine.py", "conf/model/mine.yaml", "conf/mine.yml", "src/models/mine.py", "a b/ü.py"])
def test_untracked_code_is_dirty_until_it_is_committed(name: str, clone: Path) -> None:
    write(clone, name)
    assert repository(clone / "src" / "runs")["dirty"] is True
    git(clone, "add", "--", name)
    assert repository(clone / "src" / "runs")["dirty"] is True
    git(clone, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "second")
    assert repository(clone / "src" / "runs") == {"commit": git(clone, "rev-parse", "HEAD"), "dirty": False}


def test_without_a_repository_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert repository(tmp_path) == {"commit": None, "dirty": None}


def test_a_git_that_fails_or_takes_too_long_does_not_make_code_clean(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run

    def late(command: list[str], **options: object) -> object:
        if command[3] == "ls-files":
            raise subprocess.TimeoutExpired(command, 10)
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", late)
    assert repository(clone)["dirty"] is None
    (clone / "README.md").write_text("changed")
    assert repository(clone)["dirty"] is True
