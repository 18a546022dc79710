"""Errors as one line and an exit code."""

import errno
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from src.hints import no_such_key
from src.interrupts import raise_recent_interrupt

TRACEBACK = "RAVINE_TRACEBACK"
EXTRAS = {  # the extra in pyproject.toml that installs each config file
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
}
PLACES = {"predict": "another file with csv=", "export": "another file"}  # where a command writes
# Hydra's two messages for a sweep without -m.
SEVERAL_VALUES = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'(?:\n| requires --multirun)")


class UserError(Exception):
    """An error that the user can fix; its text names the problem and the fix."""


class Reported(Exception):
    """A job of a sweep failed and has already printed the reason, which is this error's text."""


def have_hydra_raise() -> None:
    """Make Hydra raise its errors instead of printing many lines; remember if the user set HYDRA_FULL_ERROR=1."""
    os.environ.setdefault(TRACEBACK, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"


def traceback_wanted() -> bool:
    """Return True if the user set HYDRA_FULL_ERROR=1."""
    return os.environ.get(TRACEBACK) == "1"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Print an error of the command on one line and exit with its code; with HYDRA_FULL_ERROR=1, raise it."""
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
    """Return 2 for an error in the command, 1 for an error in the run."""
    return 2 if isinstance(error, UserError | HydraException | OmegaConfBaseException) else 1


def flat(error: BaseException) -> str:
    """Return the text of `error` without line breaks."""
    return visible(" ".join(str(error).split()))


def one_line(error: Exception) -> str:
    """Return `error` as one line for the user.

    Raises Interrupted if a signal has just arrived: a library has then turned `Interrupted` into `error`.
    """
    raise_recent_interrupt(error)
    return visible(" ".join(_reason(error).split()))


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
            f"{several[1]}: has several values; add -m to train them all, or give one (a list as [1,2], "
            f"""text with a comma in quotes: '{several[1].partition("=")[0]}="a,b"')"""
        )
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error)
    if isinstance(error, UserError | HydraException):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{os.fspath(error.filename)}: " if error.filename else ""
        elsewhere = PLACES.get(Path(sys.argv[0]).stem, "another folder with output_dir=")
        return f"{where}{error.strerror}; free some space, or choose {elsewhere}"
    if limit := _limit(error):
        return limit
    if isinstance(error, OSError) and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}; choose another path, or check its permissions"
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows the traceback)"


def _limit(error: Exception) -> str:
    """Return how to raise the limit of the system that an error is about; empty if it is about none."""
    text = str(error)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{text}: raise the limit with ulimit -n 1024, or use fewer processes with hydra.launcher.workers=1"
    if isinstance(error, OSError) and "AF_UNIX path too long" in text:
        return f"TMPDIR={os.environ.get('TMPDIR', '')}: is too long for the sockets between processes; set TMPDIR=/tmp"
    no_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if no_memory or (isinstance(error, ImportError) and "failed to map segment" in text):
        what = f"{type(error).__name__}: {text}"
        return f"{what}: memory ran out; raise a limit that ulimit -v shows, or use a larger machine"
    return ""


def _unreadable(override: str) -> str:
    """Return the error message for an override that Hydra cannot parse."""
    key, equals, value = map(str.strip, override.partition("="))
    if not equals:
        return (
            f"{override}: is not a setting; write key=value, with quotes if the value has spaces: 'output_dir=\"a b\"'"
        )
    if value.endswith("()"):
        return f"{override}: has no values; list at least one"
    if value.startswith("~"):
        return f'{override}: quotes are missing, and ~ is not expanded here; write {key}="$HOME{value[1:]}"'
    if key in ("output_dir", "data_root"):
        quoted = value.strip("'\"").replace('"', '\\"')
        return f"{override}: quotes are missing, for the shell and inside them; write " + shlex.quote(
            f'{key}="{quoted}"'
        )
    return (
        f"{override}: cannot be parsed; write key=value, lists as [1,2], and text with special characters in two pairs "
        f"""of quotes: '{key}="a=b"'"""
    )


def visible(text: str) -> str:
    r"""Return `text` with what would steer a terminal, or is no valid UTF-8, escaped: `\x1b`, `\u202e`, `\udcff`."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
