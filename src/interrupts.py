"""Handling of SIGINT, SIGTERM and closed pipes."""

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
RESUMES = "are kept; the same command (without force=true) resumes"
CLEANUP = 5.0  # seconds for cleanup after an interrupt, during which further interrupts are ignored


class Interrupted(BaseException):
    """SIGINT, SIGTERM or a closed pipe (SIGPIPE). Not an `Exception`, so that no library treats it as a failed run."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.exit_code = signum, 128 + signum
        self.hint = ""  # printed instead of the command's own, if set


@dataclass
class _Interrupts:
    """State of signal handling: a signal raises `Interrupted` if `raised`, else it ends the process at once."""

    hint: str = ""
    raised: bool = False
    ignored_until: float = 0.0
    last: int = 0
    deferred: bool = False
    pending: int = 0


_interrupts = _Interrupts()


def _interrupt(signum: int, _: FrameType | None = None) -> None:
    # Stays installed: Python complains about a signal that arrives while its handler is being replaced.
    if time.monotonic() < _interrupts.ignored_until:
        return
    if not _interrupts.raised:
        if signum != signal.SIGPIPE and _interrupts.hint:
            os.write(2, f"{signal.Signals(signum).name}: {_interrupts.hint}\n".encode())
        os._exit(128 + signum)
    if _interrupts.deferred:
        _interrupts.pending = signum
        return
    _interrupts.ignored_until, _interrupts.last = time.monotonic() + CLEANUP, signum
    raise Interrupted(signum)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Raise `Interrupted` at the end rather than within. Blocking signals would not do: another thread gets them."""
    _interrupts.deferred = True
    try:
        yield
    finally:
        _interrupts.deferred = False
        if signum := _interrupts.pending:
            _interrupts.pending = 0
            _interrupt(signum)


def raise_interrupts() -> None:
    """Make signals raise `Interrupted` from now on, so that cleanup runs.

    Before this call they end the process: in imports and OmegaConf an exception may get lost or leave a lock behind.
    """
    _interrupts.raised = True


def raise_on_signals(signals: Iterable[int]) -> None:
    """Make the first of these signals raise `Interrupted` in the main thread."""
    _interrupts.raised, _interrupts.ignored_until = True, 0.0
    for signum in signals:
        signal.signal(signum, _interrupt)


def raise_recent_interrupt(error: Exception) -> None:
    """Raise `Interrupted` again if a signal has just raised it: a library has turned it into `error`."""
    if time.monotonic() < _interrupts.ignored_until:
        raise Interrupted(_interrupts.last) from error


class _Output:
    """A text stream that raises `Interrupted` when its reader has closed it, and discards further output."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or StringIO()  # None: closed before the command started

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
    """Run a command that SIGINT, SIGTERM or a closed pipe ends with an exit code; the signals print `hint`, if any."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    streams = sys.stdout, sys.stderr

    def restore() -> None:
        sys.stdout, sys.stderr = streams
        _interrupts.ignored_until = 0.0
        ends = before[signal.SIGINT] == signal.SIG_DFL  # set by src/__init__.py: the process is about to exit
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
            print(f"{interruption}: {interruption.hint or hint}", file=sys.stderr)
        restore()
        sys.exit(interruption.exit_code)
