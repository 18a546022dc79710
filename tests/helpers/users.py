"""Permissions in tests that may run as root."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY = 65534


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Run the block as a user for whom permissions apply: as nobody if this process is root's."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
