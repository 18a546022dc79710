"""Ravine. Its commands are run as `python -m src.train` and the like."""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # true while Python looks for the module of a `-m` command
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during imports ends the process at once, without a traceback
