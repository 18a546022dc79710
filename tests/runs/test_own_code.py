"""The user's own code: what belongs to it, and what changes of it count."""

import sys
from pathlib import Path
from typing import Any

import pytest

from src.config.settings import Settings
from src.runs import own_code as module
from src.runs.own_code import OwnCode, own_classes, own_code

CONSTANT = {"_target_": "src.schedules.Schedule"}
SGD: dict[str, Any] = {"_target_": "torch.optim.SGD"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def settings(model: str, optimizer: dict[str, Any] = SGD) -> Settings:
    return Settings("digits", 0, "half", {"_target_": model}, optimizer, CONSTANT, 0.1, 32, 2, 0)


def found(wanted: Settings) -> OwnCode:
    """Return what another process would find."""
    module._of_targets.cache_clear()
    module._root.cache_clear()
    return own_code(wanted)


def digest(folder: Path, source: str) -> str | None:
    (folder / "ravine_mine.py").write_text(source)
    return found(settings("ravine_mine.Net")).digest


def test_torch_and_ravine_are_not_the_users_own() -> None:
    assert found(settings("src.models.LeNet")).digest is None
    assert found(settings("torch.nn.Flatten")) == OwnCode()


def test_a_module_and_what_it_imports_beside_it(folder: Path) -> None:
    (folder / "zoo" / "parts").mkdir(parents=True)
    sources = {
        "ravine_mine.py": "import numpy, src.models\nfrom zoo.parts.heads import Head\nfrom ravine_more import x",
        "ravine_more.py": "def f():\n    import ravine_late",
        "ravine_late.py": "",
        "ravine_other.py": "",
        "zoo/__init__.py": "from . import base",
        "zoo/base.py": "",
        "zoo/unused.py": "",
        "zoo/parts/heads.py": "from ..base import y\nfrom .norms import z",
        "zoo/parts/norms.py": "not Python",
    }
    for name, source in sources.items():
        (folder / name).write_text(source)
    code = found(settings("ravine_mine.Net"))
    assert code.files.keys() == sources.keys() - {"ravine_other.py", "zoo/unused.py"}
    code.copy_to(folder / "copy")
    assert (folder / "copy" / "zoo" / "parts" / "heads.py").read_text() == sources["zoo/parts/heads.py"]
    assert not {"ravine_mine", "zoo"} & sys.modules.keys()  # nothing was imported


BEFORE = """import torch  # the framework


class Net(torch.nn.Flatten):
    def forward(self, images):
        # A comment.
        return super().forward(images)  # "text"
"""


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda source: source.replace("A comment", "Another comment"), False),
        (lambda source: source.replace("\n\n\n", "\n"), False),
        (lambda source: source.replace("# A comment.", "#\n        #\n"), False),
        (lambda source: source.replace("  # the framework", ""), False),
        (lambda source: source + "\n\n# The end.\n", False),
        (lambda source: source.replace("super()", "torch.tanh(super())"), True),
        (lambda source: source + "X = 1\n", True),
        (lambda source: source + "X = '''a\n\nb'''\n", True),
    ],
)
def test_changes_of_comments_and_blank_lines_do_not_count(change: object, counts: bool, folder: Path) -> None:
    assert callable(change)
    after = change(BEFORE)
    assert after != BEFORE
    assert (digest(folder, BEFORE) != digest(folder, after)) is counts


def test_blank_lines_and_hashes_in_texts_count(folder: Path) -> None:
    one, other = (f"X = '''a{lines}# b'''\n" for lines in ("\n", "\n\n"))
    assert digest(folder, one) != digest(folder, other)
    assert digest(folder, "X = 'a#b'") != digest(folder, "X = 'a#c'")


def test_classes_within_arguments_count(folder: Path) -> None:
    (folder / "ravine_base.py").write_text("")
    outer: dict[str, Any] = {"_target_": "torch.optim.SGD", "base": {"_target_": "ravine_base.Own"}}
    assert found(settings("src.models.LeNet", outer)).files.keys() == {"ravine_base.py"}
    assert own_classes(settings("src.models.LeNet", outer)) == ("ravine_base.Own",)


def test_a_linked_module_and_one_of_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "versions").mkdir()
    (folder / "versions" / "one.py").write_text("import ravine_far")
    (folder / "ravine_link.py").symlink_to(folder / "versions" / "one.py")
    (folder / "far").mkdir()
    (folder / "far" / "ravine_far.py").write_text("")
    monkeypatch.syspath_prepend(str(folder / "far"))
    assert found(settings("ravine_link.Net")).files == {"ravine_link.py": b"import ravine_far", "ravine_far.py": b""}


def test_installed_packages_count_by_version(monkeypatch: pytest.MonkeyPatch) -> None:
    one = found(settings("sklearn.cluster.KMeans"))
    assert one.files == {}
    assert one.versions.keys() == {"sklearn"}
    monkeypatch.setattr(module, "_version", lambda _: "0.0")
    assert found(settings("sklearn.cluster.KMeans")).digest != one.digest
    module._of_targets.cache_clear()
