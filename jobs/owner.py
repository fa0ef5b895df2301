"""Which process computes a job, and whether it still lives."""

from __future__ import annotations

import os
import socket

import psutil

CLOCK_SLACK = 2.0
"""Seconds by which a process's start may seem to move when the machine's clock is set."""


def this_process() -> str:
    """Host, process number and start: told apart from a later process with the same number."""
    return f"{socket.gethostname()}:{os.getpid()}:{int(psutil.Process().create_time())}"


def alive(owner: str) -> bool:
    """Whether a job's owner still computes; a process of another machine is taken to."""
    host, pid, started = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(pid))
        gone = process.status() == psutil.STATUS_ZOMBIE  # killed, but its parent hasn't noticed
        return not gone and abs(process.create_time() - int(started)) < CLOCK_SLACK
    except psutil.NoSuchProcess:
        return False
