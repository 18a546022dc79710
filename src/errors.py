"""What goes wrong by the user's hand or signal, and how it is said: one line, and an exit code."""

import difflib
import errno
import os
import signal
from collections.abc import Iterable
from types import FrameType

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

TRACEBACK = "RAVINE_TRACEBACK"
EXTRAS = {  # of pyproject.toml, by what is missing where they are
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/submitit_local": "slurm",
    "hydra/launcher/ray": "ray",
}


class UserError(Exception):
    """Something the user can put right; its text says what, and how."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM. No `Exception`, so that no library takes it for a failed run."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class Reported(Exception):
    """A job of a sweep failed, for the reason that is its text, and has said so."""


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _interrupt(signum: int, _: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # one is enough, and what it sets off must not be cut short
    raise Interrupted(signum)


def raise_on_signals(signals: Iterable[int] = SIGNALS) -> None:
    """From here on the first of these signals raises `Interrupted` in the main thread."""
    for signum in signals:
        signal.signal(signum, _interrupt)


def have_hydra_raise() -> None:
    """Have Hydra raise its errors, which it would print over many lines, and note whether the user asked for them."""
    os.environ.setdefault(TRACEBACK, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"


def traceback_wanted() -> bool:
    """Whether the user set HYDRA_FULL_ERROR=1."""
    return os.environ.get(TRACEBACK) == "1"


def exit_code(error: Exception) -> int:
    """2 where the command was wrong, 1 where the run was."""
    return 2 if isinstance(error, UserError | HydraException | OmegaConfBaseException) else 1


def flat(error: BaseException) -> str:
    """The text of `error` without its line breaks."""
    return " ".join(str(error).split())


def no_such_key(key: str, keys: Iterable[str]) -> str:
    """What to say of an unknown `key`, where there are these `keys`."""
    near = difflib.get_close_matches(key, list(keys), n=1)
    hint = f"did you mean {near[0]}?" if near else "--cfg job lists the keys there are"
    return f"{key}: there is no such key; {hint}"


def one_line(error: Exception, keys: Iterable[str] = ()) -> str:
    """`error` for a person, on one line. `keys` are the settings there are, for a hint at a misspelt one."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        if extra := EXTRAS.get(error.missing_cfg_file):
            return f"{error.missing_cfg_file}: is not installed; pip install -e '.[{extra}]'"
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = ", ".join(option for option in error.options or () if not option.endswith("/"))
        return f"{group}={choice}: there is no such {group or 'config'}; choose one of: {options}"
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        cause = error.__cause__
        unknown = isinstance(cause, ConfigKeyError | ConfigAttributeError)
        return no_such_key(str(cause.full_key), keys) if unknown else f"{cause.full_key}: {str(cause).splitlines()[0]}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: is no override; write key=value, and lists as [1,2]"
    if isinstance(error, UserError | HydraException | OmegaConfBaseException):
        return flat(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{os.fspath(error.filename)}: " if error.filename else ""
        return f"{where}{error.strerror}; free some space, or name another place by output_dir="
    if isinstance(error, OSError) and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}; choose another place, or see to the rights of this one"
    return f"{type(error).__name__}: {flat(error)} (HYDRA_FULL_ERROR=1 shows the traceback)"
