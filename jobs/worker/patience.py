"""Waiting for a database that is restarted or busy, rather than losing what was computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tdlens.errors import DatabaseBusy, Unreachable

T = TypeVar("T")
PATIENCE = 6 * 3600.0
"""Seconds for which a database may be away before a process gives up: a night's maintenance takes less."""
STORE_PATIENCE = 3600.0
"""Seconds for which the blobs' store may be away before a unit's result is given up."""
PAUSE = 1.0
"""Seconds between two attempts."""


def patiently(action: Callable[[], T], tell: Callable[[str], None]) -> T:
    """The action's value, tried again while the database can't be reached.

    Args:
        action: one whole transaction; it must be harmless to repeat.
        tell: is given one line when the waiting begins.

    Raises:
        Unreachable, DatabaseBusy: for longer than ``PATIENCE``.
    """
    began = time.monotonic()
    told = False
    while True:
        try:
            return action()
        except (Unreachable, DatabaseBusy) as error:
            if time.monotonic() - began > PATIENCE:
                raise
            if not told:
                tell(f"{error.message} Waiting for it.")
                told = True
            time.sleep(PAUSE)
