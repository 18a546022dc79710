"""Errors as one line and an exit code."""

import errno
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from src.hints import no_such_key
from src.interrupts import raise_recent_interrupt

TRACEBACK = "RAVINE_TRACEBACK"
EXTRAS = {  # of pyproject.toml, by what is missing where they are
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
}
# What Hydra says of a sweep without -m.
SEVERAL_VALUES = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'(?:\n| requires --multirun)")


class UserError(Exception):
    """Something the user can put right; its text says what, and how."""


class Reported(Exception):
    """A job of a sweep failed, for the reason that is its text, and has said so."""


def have_hydra_raise() -> None:
    """Have Hydra raise its errors, which it would print over many lines, and note whether the user asked for them."""
    os.environ.setdefault(TRACEBACK, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"


def traceback_wanted() -> bool:
    """Whether the user set HYDRA_FULL_ERROR=1."""
    return os.environ.get(TRACEBACK) == "1"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Print an error of the command in one line, and exit with its code; raise it if HYDRA_FULL_ERROR=1."""
    have_hydra_raise()
    try:
        yield
    except Reported:
        sys.exit(1)
    except Exception as error:
        if traceback_wanted():
            raise
        print(one_line(error), file=sys.stderr)
        sys.exit(exit_code(error))


def exit_code(error: Exception) -> int:
    """2 where the command was wrong, 1 where the run was."""
    return 2 if isinstance(error, UserError | HydraException | OmegaConfBaseException) else 1


def flat(error: BaseException) -> str:
    """The text of `error` without its line breaks."""
    return " ".join(str(error).split())


def one_line(error: Exception) -> str:
    """`error` for a person, on one line.

    Raises Interrupted just after a signal has: some library has made an error of that.
    """
    raise_recent_interrupt(error)
    return " ".join(_reason(error).split())


def _reason(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        if extra := EXTRAS.get(error.missing_cfg_file):
            return f"{error.missing_cfg_file}: is not installed; pip install -e '.[{extra}]'"
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = ", ".join(option for option in error.options or () if not option.endswith("/"))
        return f"{group}={choice}: there is no such {group}; choose one of: {options}" if group else str(error)
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        cause = error.__cause__
        if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
            root = cause.parent_node._get_root()
            return no_such_key(str(cause.full_key), root)
        return _reason(cause)
    if isinstance(error, ConfigCompositionException) and (several := SEVERAL_VALUES.match(str(error))):
        return (
            f"{several[1]}: has several values; add -m to train them all, or write one (a list as [1,2], "
            f"""a text with a comma in quotes: '{several[1].partition("=")[0]}="a,b"')"""
        )
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error)
    if isinstance(error, UserError | HydraException):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{os.fspath(error.filename)}: " if error.filename else ""
        return f"{where}{error.strerror}; free some space, or name another place by output_dir="
    if isinstance(error, OSError) and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}; choose another place, or see to the rights of this one"
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows the traceback)"


def _unreadable(override: str) -> str:
    """What to say of a word that Hydra cannot parse."""
    key, equals, value = map(str.strip, override.partition("="))
    if not equals:
        return (
            f"{override}: is no setting; write key=value, with quotes where the value has spaces: 'output_dir=\"a b\"'"
        )
    if value.endswith("()"):
        return f"{override}: has no values"
    if value.startswith("~"):
        return f'{override}: quotes are missing, and ~ is not expanded here; write {key}="$HOME{value[1:]}"'
    if key in ("output_dir", "data_root"):
        quoted = value.strip("'\"").replace('"', '\\"')
        return f"{override}: quotes are missing, for the shell and within them; write " + shlex.quote(
            f'{key}="{quoted}"'
        )
    return (
        f"{override}: cannot be read; write key=value, lists as [1,2], and a text with special characters in two pairs "
        f"""of quotes: '{key}="a=b"'"""
    )
