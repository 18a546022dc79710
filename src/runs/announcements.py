"""Lists of the runs that live studies plan to train, for `src.status`."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import TypeAdapter
from typing_extensions import NotRequired, TypedDict

from src.config.settings import ConfigChoices, Settings
from src.files import read_file, replace_file
from src.runs.record import ChoicesEntry, SettingsEntry
from src.runs.state import State

FOLDER = ".studies"
LARGEST = 2**25  # bytes, several times those of 10,000 runs


class _Planned(TypedDict):
    directory: str
    settings: SettingsEntry
    names: ChoicesEntry
    data_sha256: NotRequired[str | None]
    code: NotRequired[str | None]


PLANNED = TypeAdapter(list[_Planned])


@contextmanager
def announced(output: Path, states: Sequence[State]) -> Iterator[None]:
    """Keep a file that lists a study's runs while this process lives. Files of dead processes are removed."""
    planned(output)
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{platform.node()}-{os.getpid()}-{uuid4().hex[:8]}.json"  # containers may share host and pid
    runs = [
        {
            "directory": str(state.directory.relative_to(output)),
            "settings": asdict(state.settings),
            "names": asdict(state.names),
            "data_sha256": state.data_sha256,
            "code": state.code,
        }
        for state in states
    ]
    with FileLock(file.with_suffix(".lock")):
        try:
            replace_file(file, json.dumps(runs).encode())
            yield
        finally:
            _remove(file)


def planned(output: Path) -> list[State]:
    """Return the runs of all live studies in an output directory, in their order, with status `to do`."""
    states: dict[Path, State] = {}
    for file in sorted((output / FOLDER).glob("*.json")):
        with suppress(OSError, ValueError):  # removed meanwhile, or not written by Ravine
            try:
                with FileLock(file.with_suffix(".lock"), timeout=0):
                    _remove(file)  # left by a killed process
            except Timeout:
                for run in PLANNED.validate_json(read_file(file, largest=LARGEST)):
                    path = output / run["directory"]
                    settings, names = Settings(**run["settings"]), ConfigChoices(**run["names"])
                    known = run.get("data_sha256"), run.get("code")
                    states[path] = State(path, settings, names, data_sha256=known[0], code=known[1])
    return list(states.values())


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.with_suffix(".lock").unlink(missing_ok=True)
