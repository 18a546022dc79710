"""The run that a command names: by its folder, a part of its name, or as the best of a selection."""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.errors import UserError, visible
from src.runs.directory import Run
from src.runs.own_code import own_code
from src.runs.state import State, read_state, records

SHOWN = 5  # runs that an error names


def find(words: Sequence[str], output: Path) -> list[Path]:
    """Return the directories of the named runs in an output directory.

    A word is a folder or a unique part of a run's path; `best` is the best run, and the words KEY=VALUE after it select
    among which. Raises UserError.
    """
    found: list[Path] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "best":
            selection = []
            while rest and "=" in rest[0]:
                selection.append(rest.pop(0))
            found.append(best(selection, output))
        else:
            found.append(_named(word, output))
    if not found:
        raise UserError("no run is named; give its folder, a part of its name, or best")
    return found


def _named(word: str, output: Path) -> Path:
    if Run(Path(word)).record_file.is_file():
        return Path(word)
    every = [file.parent for file in records(output)]
    matching = [directory for directory in every if word in str(directory.relative_to(output))]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise UserError(f"{word}: is neither the folder of a run nor a part of one's name in {output}")
    names = ", ".join(str(directory.relative_to(output)) for directory in matching[:SHOWN])
    more = f" and {len(matching) - SHOWN} more" if len(matching) > SHOWN else ""
    raise UserError(f"{word}: is part of the names of {len(matching)} runs: {names}{more}; give more of one")


def best(selection: Sequence[str], output: Path) -> Path:
    """Return the finished run of highest accuracy on validation images if any run holds some out, else on the test set.

    `selection`: words KEY=VALUE, such as model=lenet or lr=0.05, that the run must have. Raises UserError.
    """
    states = [state for file in records(output) if (state := read_state(Run(file.parent)))]
    known = {key for state in states for key in _settings(state)}
    for word in selection:
        if states and word.partition("=")[0] not in known:
            raise UserError(f"{word}: no run has this setting; they have {', '.join(sorted(known))}")
    chosen = [state for state in states if state.status == "finished" and all(_has(state, word) for word in selection)]
    name = " ".join(["best", *selection])
    if not chosen:
        raise UserError(f"{name}: there is no such finished run in {output}")
    chosen = _of_current_code(name, chosen)
    _check_alike(name, chosen)
    validated = [state for state in chosen if state.validation_accuracy is not None]
    split = "validation" if validated else "test"
    top = max(validated or chosen, key=lambda state: _accuracy(state, split))
    counted = f"{len(validated or chosen)} run{'s' * (len(validated or chosen) > 1)}"
    print(visible(f"{name}: {top.directory}/, {_accuracy(top, split):.2%} on the {split} set, of {counted}"))
    return top.directory


def _check_alike(name: str, states: Sequence[State]) -> None:
    """Raise UserError unless all runs are on the same data, which their hash tells."""
    if len(names := sorted({state.settings.data for state in states})) > 1:
        raise UserError(f"{name}: these runs are of several data sets, {', '.join(names)}; add data={names[0]}")
    if len(files := sorted({state.data_sha256 or "" for state in states})) > 1:
        some = ", ".join(each[:8] for each in files)
        raise UserError(
            f"{name}: these runs are on {len(files)} data files named {names[0]}, whose SHA-256 begin with {some}; add "
            f"data.sha256={files[0][:8]}"
        )


def _of_current_code(name: str, states: list[State]) -> list[State]:
    """Return the runs that the current code has trained; a run of earlier code can be neither loaded nor compared."""
    current = [state for state in states if state.code in (None, own_code(state.settings).digest)]
    if others := len(states) - len(current):
        runs = f"{others} run{'s' * (others > 1)}"
        if not current:
            raise UserError(
                f"{name}: {runs} found, trained by other code than the current one; put it back, or train anew"
            )
        print(f"{name}: left out {runs} trained by other code than the current one", file=sys.stderr)
    return current


def _accuracy(state: State, split: str) -> float:
    value = state.validation_accuracy if split == "validation" else state.test_accuracy
    return -math.inf if value is None else value


def _settings(state: State) -> dict[str, Any]:
    """Return a run's settings by their keys on the command line."""
    settings, names = state.settings, state.names
    of_data = {f"data.{key}": getattr(settings, key) for key in ("validation", "normalize", "augment")}
    own = {f"data.{key}": value for key, value in settings.source.items()} | {"data.test": settings.test_share}
    return settings.flat | of_data | own | {"data.sha256": state.data_sha256 or ""} | asdict(names)


def _has(state: State, word: str) -> bool:
    """Return True if the run has the setting KEY=VALUE."""
    key, _, value = word.partition("=")
    own = _settings(state).get(key)
    if key == "data.sha256":
        return bool(value) and str(own).startswith(value)
    if isinstance(own, int | float):
        try:
            return float(value) == own
        except ValueError:
            return False
    return own is not None and str(own).replace(" ", "") == value.replace(" ", "")
