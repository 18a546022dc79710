"""Arguments of the commands that use trained networks: runs, files and options."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from src.errors import UserError
from src.files import KINDS


@dataclass(frozen=True)
class Arguments:
    """`words` are runs and files in the order given, `options` the KEY=VALUE among them.

    A KEY=VALUE after the word `best` selects among the runs, unless it is output_dir=.
    """

    words: list[str]
    options: dict[str, str]


def parse(arguments: Sequence[str], allowed: Mapping[str, str]) -> Arguments:
    """Return the arguments; `allowed` are the options with their defaults. Raises UserError."""
    words: list[str] = []
    options = dict(allowed)
    after_best = False
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in allowed and not (after_best and key != "output_dir"):
            options[key] = value
        elif equals and after_best:
            words.append(argument)
        elif equals and key.replace(".", "").replace("_", "").isalnum() and "/" not in key:
            raise UserError(f"{argument}: there is no such option; options are {', '.join(allowed)}")
        elif argument.startswith("-"):
            raise UserError(f"{argument}: options have no dashes: output_dir=outputs")
        else:
            words.append(argument)
            after_best = argument == "best"
    return Arguments(words, options)


def switch(options: Mapping[str, str], key: str) -> bool:
    """Return the value of a switch. Raises UserError unless it is true or false."""
    if options[key] not in ("true", "false"):
        raise UserError(f"{key}={options[key]}: must be true or false")
    return options[key] == "true"


def check_output(file: Path, said: str) -> None:
    """Raise UserError unless a file can be written or replaced as `file`, which the user named by the word `said`.

    A link is refused as well: the file would replace the link, while its user may expect it at the link's target.
    """
    try:
        has_folder = file.parent.is_dir()
        kind = stat.S_IFMT(file.lstat().st_mode) if os.path.lexists(file) else stat.S_IFREG
    except OSError as error:  # such as a folder's name that is too long
        raise UserError(f"{said}: {error.strerror}; name another file") from None
    if not has_folder:
        wrong = "is not a folder" if os.path.lexists(file.parent) else "does not exist"
        raise UserError(f"{said}: {file.parent} {wrong}; create that folder, or name a file in another one")
    if kind != stat.S_IFREG:
        what = KINDS.get(kind, "no regular file")
        raise UserError(f"{said}: is {what}; name a file that does not exist yet, or a regular file")
    try:
        # Permissions do not tell it: a file system may be read-only, and root is allowed everything. The name is as
        # long as that of the file that `replace_file` renames.
        with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}"):
            pass
    except OSError as error:
        raise UserError(
            f"{said}: cannot be written in {file.parent} ({error.strerror}); name another file, or check the folder's "
            "permissions"
        ) from None


def runs_and_files(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split words into those that name one run, `best` with its selection or another word, and the files after it."""
    if not words:
        raise UserError("no run is named; give its folder, a part of its name, or best")
    end = 1
    while words[0] == "best" and end < len(words) and "=" in words[end]:
        end += 1
    return list(words[:end]), list(words[end:])
