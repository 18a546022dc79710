"""The table of cells: test accuracy by optimizer, batch size and lr."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table
from rich.text import Text

from src.config.settings import optimizer_order
from src.runs.own_code import own_classes
from src.runs.record import chance
from src.runs.state import State

ALWAYS = ("optimizer", "batch")


def tables(states: Iterable[State]) -> list[tuple[str, Table]]:
    """Return a caption and a table per data set: accuracies on different data sets are never compared.

    Data sets are one if they have the same name and files. A run that was not begun has read no files yet: it belongs
    to most of the runs whose data are given by the same settings.
    """
    states = list(states)
    sizes: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)  # runs by files, by settings of the data
    for state in states:
        if state.data_sha256:
            sizes[_data(state)][state.data_sha256] += 1
    by_data: defaultdict[tuple[str, ...], list[State]] = defaultdict(list)
    for state in states:
        data = _data(state)
        files = state.data_sha256 or (sizes[data].most_common(1)[0][0] if sizes[data] else "")
        by_data[(data[0], files) if files else data].append(state)
    names = Counter(name for name, *_ in by_data)
    return [
        (_caption(name, files if names[name] > 1 else "", of_it), cells(of_it))
        for (name, files, *_), of_it in by_data.items()
    ]


def _data(state: State) -> tuple[str, ...]:
    """Return the settings that name the data of a run."""
    settings = state.settings
    return settings.data, "", str(settings.test_share), str(settings.source)


def _caption(name: str, files: str, states: list[State]) -> str:
    caption = f"{name} (files {files[:8]}): {_legend(states)}" if files else f"{name}: {_legend(states)}"
    if (number := _versions(states)) < 2:
        return caption
    warning = f"trained by {number} versions of your own code: their numbers should not be compared or averaged"
    return f"{caption}\n{warning}"


def _versions(states: Iterable[State]) -> int:
    """Return the largest number of versions of the user's own code that runs of the same classes were trained by."""
    codes: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for state in states:
        if state.code is not None:
            codes[own_classes(state.settings)].add(state.code)
    return max(map(len, codes.values()), default=0)


def _legend(states: list[State]) -> str:
    """Return what the numbers are, and by which images the highest is chosen: validation images if there are any."""
    seeds = "; (n): mean of n seeds" if len({state.settings.seed for state in states}) > 1 else ""
    if seeds and any(state.status == "diverged" for state in states):
        seeds += ", a diverged run counted as guessing"
    text = f"test accuracy in %, last epoch{seeds}; * highest"
    validate = [state.settings.validation > 0 for state in states]
    if not any(validate):
        return f"{text}, chosen on the test set"
    return f"{text} on the validation set" + (
        "" if all(validate) else ", or on the test set where no images are held out"
    )


def cells(states: list[State]) -> Table:
    """Return a table with a column per lr and a row per combination of the other settings that differ, except seed."""
    rows = [_row(state) for state in states]
    keys = [key for key in _keys(rows) if key in ALWAYS or _differs(key, rows)]
    grid: defaultdict[tuple[str, ...], defaultdict[float, list[State]]] = defaultdict(lambda: defaultdict(list))
    for state, row in zip(states, rows, strict=True):
        grid[tuple(row.get(key, "") for key in keys)][state.settings.lr].append(state)
    all_cells = [cell for columns in grid.values() for cell in columns.values()]
    best: dict[int, float] = {}  # by the number of images held out
    for cell in all_cells:
        if (score := _score(cell)) is not None:
            held_out = cell[0].settings.validation
            best[held_out] = max(score, best.get(held_out, 0.0))
    table = Table()
    for key in keys:
        table.add_column(key)
    lrs = sorted({state.settings.lr for state in states}, reverse=True)
    for lr in lrs:
        table.add_column(f"lr {lr:g}", justify="right")
    for labels in sorted(grid, key=_in_order(keys, grid)):
        table.add_row(*labels, *(_text(grid[labels].get(lr, []), best) for lr in lrs))
    return table


def differences(states: Iterable[State]) -> dict[Path, str]:
    """Return, by directory, the settings that differ between the runs and are not in their display names."""
    rows = {state.directory: _row(state) for state in states}
    in_titles = {"model", "optimizer", "schedule", "batch"}
    keys = [key for key in _keys(rows.values()) if key not in in_titles and _differs(key, list(rows.values()))]
    return {path: "".join(f" {key} {row[key]}" for key in keys if key in row) for path, row in rows.items()}


def _keys(rows: Iterable[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _in_order(keys: list[str], rows: Iterable[tuple[str, ...]]) -> Callable[[tuple[str, ...]], list[float]]:
    """Return a sort key for rows: numbers by value, optimizers in their order, other names by first appearance."""
    columns = [list(dict.fromkeys(column)) for column in zip(*rows, strict=True)]
    if "optimizer" in keys:
        columns[keys.index("optimizer")].sort(key=optimizer_order)

    def place(labels: tuple[str, ...]) -> list[float]:
        return [
            float(label) if label.isdecimal() else column.index(label)
            for label, column in zip(labels, columns, strict=True)
        ]

    return place


def _row(state: State) -> dict[str, str]:
    """Return the labels of a run's row: short names first, then single settings."""
    settings, names = state.settings, state.names
    row = {"model": names.model, "optimizer": names.optimizer, "schedule": names.schedule}
    row |= {"batch": str(settings.batch_size), "epochs": str(settings.epochs)}
    skipped = ("data", "batch_size", "epochs", "lr", "seed")
    return row | {key: str(value) for key, value in settings.flat.items() if key not in skipped}


def _differs(key: str, rows: list[dict[str, str]]) -> bool:
    """Return True if rows with the same choice of the setting's model, optimizer or schedule differ in the setting."""
    values: defaultdict[Any, set[str | None]] = defaultdict(set)
    for row in rows:
        values[row.get(key.partition(".")[0]) if "." in key else None].add(row.get(key))
    return any(len(alternatives) > 1 for alternatives in values.values())


def _counted(cell: Iterable[State], on_validation: bool = False) -> list[float | None]:
    """Return the accuracies of the ended runs as they count: a diverged run counts as guessing."""
    return [
        (state.validation_guess if on_validation else state.test_guess)
        if state.status == "diverged"
        else (state.validation_accuracy if on_validation else state.test_accuracy)
        for state in cell
        if state.ended
    ]


def _mean(cell: list[State], on_validation: bool = False) -> float | None:
    """Return the mean accuracy; None if no run has finished, an accuracy is not known, or the code is not the same."""
    ended = [state for state in cell if state.ended]
    known = [accuracy for accuracy in _counted(ended, on_validation) if accuracy is not None]
    comparable = any(state.status == "finished" for state in ended) and _versions(ended) < 2
    return mean(known) if comparable and len(known) == len(ended) else None


def _score(cell: list[State]) -> float | None:
    """Return the mean accuracy by which the highest is chosen; None if a run has not ended, or none has finished."""
    ended = all(state.ended for state in cell)
    return _mean(cell, on_validation=cell[0].settings.validation > 0) if ended else None


def _text(cell: list[State], best: dict[int, float]) -> Text:
    """Return the mean over the ended runs, and the number of runs of each status but finished."""
    parts: list[Text] = [] if cell else [Text("-")]
    ended = [state for state in cell if state.ended]
    if (accuracy := _mean(cell)) is not None:
        number, style = f"{100 * accuracy:.2f}", ""
        if len(cell) > 1:
            number += f" ({len(ended)})"
        if accuracy <= max(chance(ended[0].classes), ended[0].test_guess):
            number, style = f"{number} at chance", "dim"
        elif (score := _score(cell)) is not None and score == best[cell[0].settings.validation]:
            number, style = f"{number} *", "bold green"
        parts.append(Text(number, style))
    elif (versions := _versions(ended)) > 1:
        parts.append(Text(f"{versions} codes", "red"))
    others = [state.status for state in cell if state.status != "finished"]
    for status in dict.fromkeys(others):
        text = f"{others.count(status)} of {len(cell)} {status}" if len(cell) > 1 else status
        parts.append(Text(text, "red" if status in ("diverged", "failed") else ""))
    return Text(", ").join(parts)
