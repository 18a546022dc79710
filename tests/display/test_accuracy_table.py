import io
import re
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
    known: dict[str, Any] | None = None,
    **changes: Any,
) -> State:
    """Return the state of a run with these settings; `known` is what else its record says."""
    settings = replace(BASE, optimizer=ADAM if optimizer == "adam" else SGD, **changes)
    names = ConfigChoices("lenet", optimizer, "constant")
    state = State(Path(settings.digest), settings, names, status, 20, accuracy)
    return replace(state, validation_accuracy=validation_accuracy, **(known or {}))


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
        [
            *("adam", "64", "to do", "1 of 2 diverged, 1 of 2 failed", "54.95 (2), 1 of 2 diverged"),
            "98.50 (2) *",  # (0.999 + 0.1) / 2 is less
        ],
    ]


def test_a_diverged_run_counts_as_guessing() -> None:
    """(19 x 0.99 + 0.3) / 20 = 0.9555 on the test set, and (19 x 0.98 + 0.2) / 20 = 0.941 on the validation set."""
    guess = {"test_guess": 0.3, "validation_guess": 0.2}
    good = [state(0.99, validation=10, validation_accuracy=0.98, known=guess, seed=seed) for seed in range(19)]
    lost = state(0.5, "diverged", validation=10, validation_accuracy=0.6, known=guess, seed=19)
    for rival, star, its in ((0.94, " *", ""), (0.942, "", " *")):
        other = state(0.9, validation=10, validation_accuracy=rival, lr=0.01)
        assert printed(*good, lost, other)[1][2:] == [f"95.55 (20){star}, 1 of 20 diverged", f"90.00{its}"]
    waiting = state(None, "to do", validation=10, seed=20)
    assert printed(*good, lost, waiting)[1][2:] == ["95.55 (20), 1 of 21 diverged, 1 of 21 to do"]
    ((caption, _),) = tables([*good, lost])
    assert "mean of n seeds, a diverged run counted as guessing;" in caption


def test_a_cell_of_which_no_run_finished_has_no_number() -> None:
    assert printed(
        state(0.1, "diverged", seed=0),
        state(0.2, "diverged", seed=1),
        state(0.1, "diverged", lr=0.01),
        state(0.05, lr=0.001),
    )[1][2:] == ["2 of 2 diverged", "diverged", "5.00 at chance"]


def test_guessing_the_largest_class_is_at_chance() -> None:
    skewed = {"test_guess": 0.4}
    assert printed(state(0.4, known=skewed), state(0.41, known=skewed, lr=0.01))[1][2:] == [
        "40.00 at chance",
        "41.00 *",
    ]


def of_files(accuracy: float | None, files: str | None, status: Any = "finished", **changes: Any) -> State:
    return state(accuracy, status, known={"data_sha256": files and files * 64}, **{"data": "set"} | changes)


def captions(*states: State) -> list[str]:
    return [caption.partition(": test")[0] for caption, _ in tables(states)]


def shown(*states: State) -> dict[str, list[str]]:
    """Return the numbers of each table by caption."""
    found = {}
    for caption, table in tables(states):
        console = Console(file=io.StringIO(), width=200)
        console.print(table)
        assert isinstance(console.file, io.StringIO)
        found[caption.partition(": test")[0]] = re.findall(r"\d\d\.\d\d|to do", console.file.getvalue())
    return found


def test_two_data_files_of_one_name_are_two_tables() -> None:
    """p1/set.npz and p2/set.npz: settings are without the path."""
    one, other = of_files(0.9, "a"), of_files(0.8, "b", lr=0.01)
    assert shown(one, other) == {"set (files aaaaaaaa)": ["90.00"], "set (files bbbbbbbb)": ["80.00"]}
    assert captions(one, of_files(0.7, "c", data="another")) == ["set", "another"]


def test_runs_that_were_not_begun_are_with_the_runs_on_the_same_data() -> None:
    many = [of_files(0.9, "a", seed=seed) for seed in range(3)]
    waiting = of_files(None, None, "to do", lr=0.01)
    assert shown(waiting, many[0]) == {"set": ["90.00", "to do"]}
    assert shown(waiting, of_files(0.8, "b"), *many) == {
        "set (files aaaaaaaa)": ["90.00", "to do"],
        "set (files bbbbbbbb)": ["80.00"],
    }
    split = [of_files(0.7, "c", seed=seed, test_share=0.2) for seed in range(5)]
    assert shown(waiting, *split, *many) == {
        "set (files aaaaaaaa)": ["90.00", "to do"],
        "set (files cccccccc)": ["70.00"],
    }
    assert captions(waiting, *split) == ["set", "set (files cccccccc)"]


def by_code(accuracy: float | None, code: str | None, status: Any = "finished", **changes: Any) -> State:
    return state(accuracy, status, known={"code": code}, **{"model": {"_target_": "mine.Net"}} | changes)


WARNING = "trained by 2 versions of your own code: their numbers should not be compared or averaged"


def test_runs_by_two_versions_of_code_are_not_averaged() -> None:
    mixed = [by_code(0.9, "a", seed=0), by_code(0.8, "b", seed=1), by_code(None, "b", "diverged", seed=2)]
    other = by_code(0.7, "a", lr=0.01)
    assert printed(*mixed, other)[1][2:] == ["2 codes, 1 of 3 diverged", "70.00 *"]
    ((caption, _),) = tables([*mixed, other])
    assert caption.splitlines()[1:] == [WARNING]


def test_two_versions_of_code_in_one_table_are_said() -> None:
    one, other, unknown = by_code(0.9, "a"), by_code(0.8, "b", lr=0.01), by_code(0.7, None, lr=0.001)
    assert [WARNING in caption for caption, _ in tables([one, other])] == [True]
    assert [WARNING in caption for caption, _ in tables([one, unknown])] == [False]
    assert printed(one, by_code(0.8, None, seed=1))[1][2:] == ["85.00 (2) *"]  # what is not known is not told apart


def test_two_networks_of_your_own_are_not_two_versions_of_one() -> None:
    """A digest covers all code of a run, so it differs between networks of which neither has changed."""
    one, other = (by_code(0.9, name, model={"_target_": f"mine.{name}"}) for name in ("One", "Other"))
    assert [WARNING in caption for caption, _ in tables([one, other])] == [False]
    changed = by_code(0.9, "changed", model={"_target_": "mine.One"}, seed=1)
    assert [WARNING in caption for caption, _ in tables([one, other, changed])] == [True]


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
