"""What goes wrong by the user's hand or signal, and how it is said: one line, and an exit code."""

import difflib
import errno
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

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


class Interrupted(BaseException):
    """SIGINT, SIGTERM or a closed pipe (SIGPIPE). No `Exception`, so that no library takes it for a failed run."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.exit_code = signum, 128 + signum


class Reported(Exception):
    """A job of a sweep failed, for the reason that is its text, and has said so."""


SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLEANUP = 5.0  # seconds that an interrupt gets for what it sets off, in which further ones are ignored


@dataclass
class _Interrupts:
    """What a signal does in this process: ends it at once, or raises `Interrupted`."""

    hint: str = ""
    raised: bool = False
    ignored_until: float = 0.0
    last: int = 0


_interrupts = _Interrupts()


def _interrupt(signum: int, _: FrameType | None = None) -> None:
    # It stays the handler, since Python complains about a signal that comes while its handler is being replaced.
    if time.monotonic() < _interrupts.ignored_until:
        return
    if not _interrupts.raised:
        if signum != signal.SIGPIPE and _interrupts.hint:
            os.write(2, f"{signal.Signals(signum).name}: {_interrupts.hint}\n".encode())
        os._exit(128 + signum)
    _interrupts.ignored_until, _interrupts.last = time.monotonic() + CLEANUP, signum
    raise Interrupted(signum)


def raise_interrupts() -> None:
    """From here on a signal raises `Interrupted`, for there is something to clean up.

    Until here it ends the process: in imports and in OmegaConf an exception may get lost, or leave a lock behind.
    """
    _interrupts.raised = True


def raise_on_signals(signals: Iterable[int]) -> None:
    """From here on the first of these signals raises `Interrupted` in the main thread."""
    _interrupts.raised, _interrupts.ignored_until = True, 0.0
    for signum in signals:
        signal.signal(signum, _interrupt)


class _Output:
    """A text stream that raises `Interrupted` when its reader has closed it, and writes to nowhere from then on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or StringIO()  # None: it was closed before the command began

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._close()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        _interrupt(signal.SIGPIPE)


@contextmanager
def interruptible(hint: str = "") -> Iterator[None]:
    """A command that SIGINT, SIGTERM and closed pipes end with an exit code, in silence or with a `hint`."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    streams = sys.stdout, sys.stderr

    def restore() -> None:
        sys.stdout, sys.stderr = streams
        _interrupts.ignored_until = 0.0
        ends = before[signal.SIGINT] == signal.SIG_DFL  # the process ends soon (src/__init__.py), and in silence
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_IGN if ends else handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    try:
        _interrupts.hint, _interrupts.raised, _interrupts.ignored_until = hint, False, 0.0
        for signum in SIGNALS:
            signal.signal(signum, _interrupt)
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # for paths that are not UTF-8
        sys.stdout, sys.stderr = cast(TextIO, _Output(sys.stdout)), cast(TextIO, _Output(sys.stderr))
        try:
            yield
        finally:
            sys.stdout.flush()
            restore()
    except Interrupted as interruption:
        if hint and interruption.signum != signal.SIGPIPE:
            print(f"{interruption}: {hint}", file=sys.stderr)
        restore()
        sys.exit(interruption.exit_code)


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


def no_such_key(key: str, cfg: DictConfig) -> str:
    """What to say of an unknown `key`, where `cfg` has others."""
    group, _, name = key.rpartition(".")
    keys = list(_keys(OmegaConf.to_container(cfg), hydras=group.startswith("hydra")))
    beside = [each for each in keys if each.rpartition(".")[0] == group and each != key]  # which + may have put there
    names = [each.rpartition(".")[2] for each in beside]
    shown = [each for each in names if not each.startswith("_")] if group else []
    if near := difflib.get_close_matches(name, names, n=1):
        hint = f"did you mean {beside[names.index(near[0])]}?"
    elif shown:
        more = f" (+{key}=... gives its class one more)" if group in ("model", "optimizer", "schedule") else ""
        hint = f"{group} has {', '.join(shown)}{more}"
    elif below := _with_this_name(name, [group] if group else ["model", "optimizer", "schedule", "data"]):
        hint = f"did you mean {below}?"
    else:
        hint = "--cfg job lists the keys there are"
    return f"{key}: there is no such key; {hint}"


def _with_this_name(name: str, groups: Iterable[str]) -> str:
    """The key of this name in a member of a config group, and the member."""
    for group in groups:
        for file in sorted((Path(__file__).parent.parent / "conf" / group).glob("*.yaml")):
            member = OmegaConf.to_container(OmegaConf.load(file))
            if isinstance(member, dict) and name in member.get(group, member):
                return f"{group}.{name}, with {group}={file.stem}"
    return ""


def _keys(node: Any, prefix: str = "", hydras: bool = False) -> Iterator[str]:
    """Every key in `node`, as on the command line; Hydra's own only where asked for."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if hydras or f"{prefix}{key}" != "hydra":
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.", hydras)


def one_line(error: Exception) -> str:
    """`error` for a person, on one line.

    Raises Interrupted just after a signal has: some library has made an error of that.
    """
    if time.monotonic() < _interrupts.ignored_until:
        raise Interrupted(_interrupts.last) from error
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
