import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from src.config.settings import ConfigChoices, Settings
from src.display.accuracy_table import cells, differences, tables
from src.runs.state import State

ADAM = {"_target_": "torch.optim.Adam", "eps": 1e-8}
SGD = {"_target_": "torch.optim.SGD", "momentum": 0.9}
BASE = Settings("mnist", 0, "half", {"_target_": "m"}, ADAM, {"_target_": "s"}, 0.05, 64, 20, 0)


def state(
    accuracy: float | None,
    status: Any = "finished",
    optimizer: str = "adam",
    validation_accuracy: float | None = None,
    **changes: Any,
) -> State:
    settings = replace(BASE, optimizer=ADAM if optimizer == "adam" else SGD, **changes)
    names = ConfigChoices("lenet", optimizer, "constant")
    state = State(Path(settings.digest), settings, names, status, 20, accuracy)
    return replace(state, validation_accuracy=validation_accuracy)


def printed(*states: State) -> list[list[str]]:
    """Return the cells of the table by row, with the head first."""
    console = Console(file=io.StringIO(), width=200)
    console.print(cells(list(states)))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    return [[cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")] for line in lines if line[:1] in "┃│"]


def test_rows_are_optimizer_and_batch_size_and_columns_lrs() -> None:
    assert printed(
        state(0.99, optimizer="sgd", batch_size=256),
        state(0.5, batch_size=256, lr=5e-7),
        state(0.9907, batch_size=256),
        state(0.98, batch_size=64),
    ) == [
        ["optimizer", "batch", "lr 0.05", "lr 5e-07"],
        ["sgd", "256", "99.00", "-"],
        ["adam", "64", "98.00", "-"],
        ["adam", "256", "99.07 *", "50.00"],
    ]


def test_seeds_are_averaged_and_runs_without_a_result_are_named() -> None:
    assert printed(
        state(0.98, seed=0),
        state(0.99, seed=1),
        state(0.999, lr=1.0, seed=0),
        state(None, "diverged", lr=1.0, seed=1),
        state(0.1, "diverged", lr=2.0, seed=0),
        state(0.1, "failed", lr=2.0, seed=1),
        state(None, "to do", lr=3.0),
    ) == [
        ["optimizer", "batch", "lr 3", "lr 2", "lr 1", "lr 0.05"],
        ["adam", "64", "to do", "diverged 1/2, failed 1/2", "99.90 (1), diverged 1/2", "98.50 (2) *"],
    ]


def test_the_caption_explains_seeds_where_there_are_several() -> None:
    one, several = [state(0.98)], [state(0.98, seed=0), state(0.99, seed=1)]
    captions = [caption for states in (one, several) for caption, _ in tables(states)]
    assert ["mean of n seeds" in caption for caption in captions] == [False, True]


def test_the_best_cell_is_chosen_on_the_validation_set_if_there_is_one() -> None:
    held_out = [
        state(0.98, validation=5000, validation_accuracy=0.97),
        state(0.97, validation=5000, validation_accuracy=0.98, lr=0.01),
    ]
    plain = [state(0.95), state(0.99, lr=0.01)]
    assert printed(*held_out)[1:] == [["adam", "64", "98.00", "97.00 *"]]
    assert printed(*held_out, *plain)[1:] == [
        ["adam", "64", "0", "95.00", "99.00 *"],
        ["adam", "64", "5000", "98.00", "97.00 *"],
    ]
    captions = [caption for states in (held_out, plain, held_out + plain) for caption, _ in tables(states)]
    assert [caption.partition("* ")[2] for caption in captions] == [
        "highest on the validation set",
        "highest, chosen on the test set",
        "highest on the validation set, or on the test set where no images are held out",
    ]


def test_a_run_without_validation_accuracy_is_not_marked() -> None:
    assert printed(state(0.98, validation=5000), state(None, lr=0.01))[1:] == [
        ["adam", "64", "0", "-", ""],
        ["adam", "64", "5000", "98.00", "-"],
    ]


def test_other_differing_settings_get_a_column() -> None:
    other = {"_target_": "m", "hidden": [1, 2]}
    assert printed(state(0.9), state(0.8, model=other), state(0.7, epochs=5, optimizer="sgd"))[0] == [
        "optimizer",
        "batch",
        "epochs",
        "model.hidden",
        "lr 0.05",
    ]


def test_without_finished_runs_nothing_is_best() -> None:
    assert printed(state(None, "running"), state(None, "failed", lr=1.0))[1] == ["adam", "64", "failed", "running"]


def test_settings_missing_from_titles_are_shown_if_they_differ() -> None:
    one, other, third = state(0.9), state(0.9, epochs=30), state(0.9, optimizer="sgd", epochs=30)
    assert differences([one, other, third]) == {
        one.directory: " epochs 20",
        other.directory: " epochs 30",
        third.directory: " epochs 30",
    }
    assert set(differences([other, third]).values()) == {""}  # their titles name the optimizer
