"""SIGINT, SIGTERM and closed pipes: how they end a command."""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from types import FrameType
from typing import Any, TextIO, cast

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLEANUP = 5.0  # seconds that an interrupt gets for what it sets off, in which further ones are ignored


class Interrupted(BaseException):
    """SIGINT, SIGTERM or a closed pipe (SIGPIPE). No `Exception`, so that no library takes it for a failed run."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.exit_code = signum, 128 + signum


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


def raise_recent_interrupt(error: Exception) -> None:
    """Raise `Interrupted` again if a signal has just done so: some library has made `error` of it."""
    if time.monotonic() < _interrupts.ignored_until:
        raise Interrupted(_interrupts.last) from error


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
