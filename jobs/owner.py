"""Which process holds a unit, and whether it still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from tdlens.identity import digest
from tdlens.record import Job, leases


def this_process() -> str:
    """Place, process number and start: told apart from a later process with the same number."""
    return f"{_place()}:{os.getpid()}:{_start(psutil.Process())}"


def dead(owner: str) -> bool:
    """Whether a unit's owner is known to be gone: a process of this machine that no longer runs."""
    place, pid, started = owner.rsplit(":", 2)
    if place != _place():
        return False
    try:
        process = psutil.Process(int(pid))
        gone = process.status() == psutil.STATUS_ZOMBIE  # killed, but its parent hasn't noticed
        return gone or _start(process) != int(started)
    except psutil.NoSuchProcess:
        return True


def _start(process: psutil.Process) -> int:
    """When a process began: ticks since the machine did, where it tells, as its clock may be set meanwhile."""
    with suppress(OSError):
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[19])
    return int(process.create_time())


@cache
def _place() -> str:
    """The host, and what tells it from another of that name or a container beside it, with numbers of its own."""
    marks = ""
    with suppress(OSError):
        marks = Path("/proc/sys/kernel/random/boot_id").read_text() + str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()}/{digest(marks)[:8]}"


def lose_dead(session: Session, *, idle: bool = False) -> None:
    """Declare units lost whose process on this machine is gone: whoever runs a study again needn't wait a minute.

    Args:
        idle: this process computes no unit now; what it holds it claimed unknowingly, as the answer was lost.
    """
    held = select(Job.id, Job.identity, Job.attempt, Job.owner).where(Job.state == "leased", Job.owner.is_not(None))
    for job_id, identity, attempt, owner in session.execute(held).all():
        if owner is not None and (dead(owner) or (idle and owner == this_process())):
            claim = leases.Claim(job_id, identity, attempt, owner)
            leases.lose(session, claim, "the process that computed it is gone")
