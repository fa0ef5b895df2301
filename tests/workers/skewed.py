"""``python -m tests.workers.skewed SECONDS MODULE …``: as ``python -m MODULE …`` on a machine whose clock is wrong.

The clock of the system, and so that of a database, goes right: what this process asks Python for doesn't.
"""

import datetime
import runpy
import sys
import time

import pandas  # noqa: F401 - its compiled code must see the real class
import psycopg  # noqa: F401
import sqlalchemy.orm  # noqa: F401

_time, _time_ns = time.time, time.time_ns


class _Moment(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(time.time(), tz)


if __name__ == "__main__":
    seconds = float(sys.argv[1])
    time.time = lambda: _time() + seconds
    time.time_ns = lambda: _time_ns() + int(seconds * 1e9)
    datetime.datetime = _Moment  # type: ignore[misc]
    module = sys.argv[2]
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
