"""Large folders that live as long as who made them: the next one to make such a folder removes those of the dead."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "owner.lock"


class Scratch:
    """A folder of its own below TMPDIR, whose owner holds its lock."""

    def __init__(self, kind: str) -> None:
        """Make one; ``kind`` is part of its name, and folders of the same kind without an owner are removed."""
        prefix = f"tdlens-{kind}-"
        for other in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            _remove_if_ownerless(other)
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._lock = FileLock(self.folder / LOCK)
        self._lock.acquire()

    def remove(self) -> None:
        """Remove it; harmless to repeat."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()


def _remove_if_ownerless(folder: Path) -> None:
    # one without a lock is being made at this moment, or somebody else's
    if (folder / LOCK).exists():
        with suppress(Timeout, OSError), FileLock(folder / LOCK).acquire(blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
