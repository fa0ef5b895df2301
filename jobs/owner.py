"""Which process computes a job, and whether it still lives."""

from __future__ import annotations

import os
import socket

import psutil

OWNER = f"{socket.gethostname()}:{os.getpid()}:{int(psutil.Process().create_time())}"
"""This process, told apart from a later one with the same number."""


def alive(owner: str) -> bool:
    """Whether a job's owner still computes; a process of another machine is taken to."""
    host, pid, started = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        return int(psutil.Process(int(pid)).create_time()) == int(started)
    except psutil.NoSuchProcess:
        return False
