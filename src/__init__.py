"""Ravine. Its commands are run as `python -m src.train` and the like."""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # which it is while Python looks for such a command's module
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while it imports ends it at once, without a traceback
