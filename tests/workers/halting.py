"""Stopping a process between its transactions: one that is stopped amid one keeps what that has locked."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import psycopg

from tdlens.record import Record
from tdlens.record.engine import connect_postgresql


def halt(send: Callable[[int], object], record: Record) -> None:
    """Stop the process that `send` sends a signal to, at a moment when it holds no lock and nothing of it is under way.

    Somebody else can write then; until that is so, it is let go on a little.
    """
    free = _sqlite_is_free if record.settings.sqlite_path is not None else _postgresql_is_free
    while True:
        send(signal.SIGSTOP)
        if free(record):
            return
        send(signal.SIGCONT)
        time.sleep(0.02)


def _sqlite_is_free(record: Record) -> bool:
    with closing(sqlite3.connect(str(record.settings.sqlite_path), isolation_level=None, timeout=1.0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
    return True


def _postgresql_is_free(record: Record) -> bool:
    with connect_postgresql(record.settings) as other:
        try:
            other.execute("SET LOCAL lock_timeout = '1s'")
            other.execute("LOCK TABLE job, worker IN ACCESS EXCLUSIVE MODE")
        except psycopg.errors.LockNotAvailable:
            return False
    return True
