"""What must not run twice at once: collecting garbage, and backing up."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from tdlens.errors import UserError
from tdlens.record import Record

_LOCK = 7_445_010_803
"""Key of the PostgreSQL advisory lock; any number that no other program uses."""


@contextmanager
def alone(record: Record) -> Iterator[None]:
    """Holds the record's one maintenance lock; runs and workers go on meanwhile.

    Raises:
        UserError: somebody else holds it.
    """
    busy = UserError("The record is being backed up or cleaned already.", "Wait for that to end.")
    if record.settings.sqlite_path is None:
        # the lock belongs to this connection, and ends with it, however this process ends
        with record.engine.connect() as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
                raise busy
            connection.commit()
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
                connection.commit()
        return
    path = record.settings.sqlite_path.with_suffix(".maintenance")
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
