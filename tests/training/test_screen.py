"""Terminal and plain output of a run."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from src.config.settings import ConfigChoices, Settings
from src.data.images import Images
from src.display.run_summary import show
from src.display.sweep_progress import SweepProgress
from src.runs.directory import Run
from src.runs.state import State
from src.training.trainer import Training, set_up_process
from tests.helpers.images import bars
from tests.helpers.runs import run_of, the_run

pytestmark = pytest.mark.usefixtures("blank_error_figures")

TITLE = "mnist mlp adam lr 0.01 batch 32 seed 0"


def screen(tmp_path: Path, terminal: bool, width: int = 120) -> str:
    """Return a run's output on a terminal of this width, or without a terminal."""
    model = {"_target_": "src.models.MLP", "hidden": [8, 8, 8]}
    constant = {"_target_": "src.schedules.Schedule"}
    settings = Settings("mnist", 50, "half", model, {"_target_": "torch.optim.Adam"}, constant, 0.01, 32, 3, 0)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, markup=False, highlight=False)
    run = run_of(settings, tmp_path)
    with run.locked():
        set_up_process(threads=1, cores=1)
        training = Training(settings, Images(*bars(300, 1), *bars(80, 2)))
        training.train_in(run, console, ConfigChoices("mlp", "adam", "constant"))
    show(run, run.record(), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_epochs_and_a_progress_bar(tmp_path: Path) -> None:
    text = screen(tmp_path, terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    # Each epoch stays on screen, above the bar.
    epochs = re.findall(r"epoch (\d)/3  train \d\.\d{4} \d+\.\d\d%  test .*%  validation .*%  [\d,]+ images/s", plain)
    assert epochs == ["1", "2", "3"]
    assert re.search(r"epoch \d/3  ETA \S+ ━{50}", plain)
    assert text.endswith(f"{the_run(tmp_path)}/\n")
    assert "\x1b[?25h" in text  # the cursor is back


def test_a_narrow_terminal_keeps_epoch_and_eta(tmp_path: Path) -> None:
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen(tmp_path, terminal=True, width=50))
    bars = [line for line in re.split(r"[\r\n]", plain) if "epoch" in line and "ETA" in line]
    assert bars
    assert all(re.search(r"epoch \d/3  ETA (\d:\d\d:\d\d|-:--:--)", line) for line in bars)


def test_without_a_terminal_there_is_a_plain_line_per_epoch(tmp_path: Path) -> None:
    text = screen(tmp_path, terminal=False)
    assert "\x1b" not in text
    assert "\r" not in text
    lines = [line for line in text.splitlines() if line.startswith(f"{TITLE}  epoch")]
    assert [re.findall(r"epoch (\d)/3 .* ETA 0:00:0\d$", line) for line in lines] == [["1"], ["2"], ["3"]]
    assert "validation" in text
    assert "250 to train on, 50 held out, 80 to test on" in text


def test_an_eta_beyond_a_day_is_in_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(0, 400, 40))
    # As if an epoch took 40 hours.
    monkeypatch.setattr("src.training.callbacks.progress.monotonic", lambda: 3600.0 * next(hours) + 7)
    assert re.findall(r"ETA (\S+)$", screen(tmp_path, terminal=False), re.M) == ["80:00:00", "40:00:00", "0:00:00"]


def test_counts_of_one_are_singular(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    figures = {"epochs": 1, "updates": 1, "training_seconds": 0.2}
    data = {"name": "digits", "train": 1500, "validation": 0, "test": 297}
    show(Run(tmp_path), {"status": "finished", "figures": figures, "data": data}, console)
    assert isinstance(console.file, io.StringIO)
    assert "training  1 epoch, 1 update, 0 s\n" in console.file.getvalue()
    constant = {"_target_": "src.schedules.Schedule"}
    settings = Settings("mnist", 0, "half", {}, {}, constant, 0.01, 32, epochs=1, seed=0)
    assert (
        SweepProgress()
        .line([State(tmp_path, settings, ConfigChoices("mlp", "adam", "constant"))])
        .startswith("1 run: 1 to do  0/1 epoch  ETA")
    )
