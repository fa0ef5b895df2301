"""Where trainings of a study work before they are in the record: a killed one goes on from there.

A unit's folder holds a workplace for each way in which its training could go on: another version of a package would
give other weights, so it begins anew. A workplace belongs to one process at a time. It outlives the training until the
record has its models for certain, so that nothing is lost if they can't be published.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from tdlens.identity import digest
from tdlens.settings import Settings


@contextmanager
def workplace(settings: Settings, identity: str, about: Mapping[str, Any]) -> Iterator[Path]:
    """A folder for a training, this process's alone; what an earlier process left of the same training is in it.

    Args:
        settings: of the record.
        identity: of the training's unit.
        about: what else must be the same for it to go on.
    """
    place, name = settings.trainings / identity, digest(about)[:16]
    place.mkdir(parents=True, exist_ok=True)
    for number in count():
        with _lock(place / f"{name}-{number}.lock") as mine:
            # one whose lease ran out may still be at work in it: then the training begins anew beside it
            if mine:
                yield place / f"{name}-{number}"
                return


def leave(settings: Settings, identity: str) -> None:
    """Delete a unit's workplaces, its models being in the record; those in which someone still works stay."""
    place = settings.trainings / identity
    for lock in sorted(place.glob("*.lock")):
        with _lock(lock) as mine:
            if mine:
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
    if place.is_dir() and not any(place.iterdir()):
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Whether this process got hold of a file that no other has."""
    with path.open("a") as file:
        yield _taken(file)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
