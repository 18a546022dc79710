"""README's and docs' commands and examples, as they stand, in a copy of the checkout with small images."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT, Command, environment

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = {  # commands of README that other tests try
    "make train": "a fresh environment: by .ci/run",
    ". .venv/bin/activate": "the environment that this test runs in",
    "tensorboard --logdir outputs": "serves for ever: tests/training/test_tensorboard.py",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = [
        line.removeprefix("$ ").partition("  #")[0].strip() for block in blocks(page, "") for line in block.splitlines()
    ]
    return [line for line in lines if re.match(r"(python -m|make|tensorboard|\.) ", line)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this code, and conf/ with the examples' files."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "src").symlink_to(ROOT / "src")
    shutil.copytree(ROOT / "conf", folder / "conf")
    for page in PAGES:
        for block in [*blocks(page, "python"), *blocks(page, "yaml")]:
            files = re.split(r"^(?=# @package|(?<!_global_\n)# \S+\.(?:py|yaml)$)", block, flags=re.MULTILINE)
            for text in filter(None, files):  # as copied, with the line that names the file
                if name := re.search(r"^# (\S+\.(?:py|yaml))$", text, re.MULTILINE):
                    (folder / name[1]).write_text(text)
    return folder


def run(checkout: Path, command: str, data_root: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    return subprocess.run(words, cwd=checkout, env=environment(data_root), capture_output=True, text=True, timeout=300)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_links_and_pictures_are_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\](?!\(https:)\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_readmes_commands_do_what_they_say(checkout: Path, small_mnist: Path) -> None:
    page = ROOT / "README.md"
    for command in commands(page):
        if command not in ELSEWHERE:
            ended = run(checkout, command, small_mnist)
            assert ended.returncode == 0, f"{command}: {ended.stderr}"
    (loads,) = (block for block in blocks(page, "python") if "src.load" in block)
    script = f"import numpy as np\nimages = np.zeros((3, 28, 28), np.uint8)\n{loads}\nprint(*probabilities.shape)"
    ended = run(checkout, shlex.join(["python", "-c", script]), small_mnist)
    assert ended.stdout.splitlines()[-1:] == ["3 10"], ended.stderr


def test_the_notebooks_examples_run_and_draw(checkout: Path, small_mnist: Path, train: Command) -> None:
    for optimizer in ("sgd", "adam"):
        settings = "data=mnist", "model=lenet", f"optimizer={optimizer}", "lr=0.01", "epochs=8"
        assert train(*settings, f"output_dir={checkout / 'outputs'}").returncode == 0
    script = "\n".join(blocks(ROOT / "docs" / "notebook.md", "python"))
    (trained,) = (checkout / "outputs" / "mnist" / "lenet").glob("adam-*lr0.01*")
    script = script.replace("adam-bs64-lr0.0005-seed0-13a414d2", trained.name)
    ended = run(checkout, shlex.join(["python", "-c", script]), small_mnist)
    assert ended.returncode == 0, ended.stderr
    assert (checkout / "accuracy_by_epoch.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "choice",
    [
        "data=stripes model=mine model.width=64 optimizer=rprop schedule=inverse_sqrt",
        "schedule=power schedule.power=3 model=mlp",
    ],
)
def test_examples_can_be_trained(choice: str, checkout: Path, small_mnist: Path) -> None:
    ended = run(checkout, f"python -m src.train {choice} epochs=2", small_mnist)
    assert ended.returncode == 0, ended.stderr
    assert "finished" in ended.stdout
