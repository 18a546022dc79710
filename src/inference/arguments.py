"""Arguments of the commands that use trained networks: runs, files and options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.errors import UserError


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


def runs_and_files(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split words into those that name one run, `best` with its selection or another word, and the files after it."""
    if not words:
        raise UserError("no run is named; give its folder, a part of its name, or best")
    end = 1
    while words[0] == "best" and end < len(words) and "=" in words[end]:
        end += 1
    return list(words[:end]), list(words[end:])
