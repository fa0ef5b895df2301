"""Files named by their content. Publishing one is atomic; reading one checks it.

A file is written under another name in the same file system, flushed to the disk, renamed, and the folder
flushed. Only then may a row name it. Whatever is killed when, there is never a row without its file: at most
a file without a row (`orphans`) or an unfinished one (`unfinished`).
"""

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdlens.errors import CorruptBlob, DiskFull, MissingBlob

if TYPE_CHECKING:
    import pandas as pd
    import torch

RESTORE = (
    "Run `tdlens doctor --repair`, which forgets what was computed from it, and then the study, which computes it "
    "again; or restore the file from a backup."
)


@dataclass(frozen=True)
class StoredBlob:
    """A published file: what the record's table `blob` holds about it."""

    sha256: str
    suffix: str
    bytes: int


@dataclass(frozen=True)
class StoredFile(StoredBlob):
    """A published file as it lies in the store."""

    modified: float
    """When it was published, in seconds since 1970 by the store's clock."""

    @property
    def name(self) -> str:
        return f"{self.sha256}.{self.suffix}"


@dataclass(frozen=True)
class BlobStore:
    """A folder of immutable files, `sha256/ab/abcd….suffix`."""

    root: Path

    def path(self, sha256: str, suffix: str) -> Path:
        """Where the blob lies, or would."""
        return self.root / "sha256" / sha256[:2] / f"{sha256}.{suffix}"

    def patient(self, seconds: float, tell: Callable[[str], None]) -> "BlobStore":
        """The same store, which says so and waits so long when it can't be reached: what was computed isn't lost."""
        return self

    def put_bytes(self, data: bytes, suffix: str) -> StoredBlob:
        """Publishes `data`. Raises DiskFull, and then leaves nothing behind."""
        return self.put_file(lambda path: _write(path, data), suffix, size=len(data))

    def put_file(self, write: Callable[[Path], object], suffix: str, *, size: int | None = None) -> StoredBlob:
        """Publishes what `write` puts at the path it is given.

        Args:
            size: about how many bytes that will be, for the message when they don't fit.

        Raises:
            DiskFull: no space is left; nothing stays behind. Whatever else `write` raises passes unchanged.
        """
        with self._temporary() as temporary, _disk_full(self.root, size):
            write(temporary)
            sha256 = _hash(temporary)
            temporary.chmod(0o644)  # safetensors makes files that only their owner can read
            flush(temporary)
            target = self.path(sha256, suffix)
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True, exist_ok=True)
                for folder in (target.parent.parent, self.root, self.root.parent):  # any of them may be new
                    flush(folder)
            length = temporary.stat().st_size
            # Also when it exists already: the new file is whole, the old one may have decayed.
            temporary.replace(target)
            flush(target.parent)
        return StoredBlob(sha256, suffix, length)

    def verified(self, sha256: str, suffix: str) -> Path:
        """The path of a blob whose content was just checked.

        Raises:
            MissingBlob: no such file.
            CorruptBlob: the content isn't what the name says.
        """
        path = self.path(sha256, suffix)
        try:
            found = _hash(path)
        except FileNotFoundError:
            raise MissingBlob(f"The blob {path} is missing.", RESTORE) from None
        if found != sha256:
            size = path.stat().st_size
            raise CorruptBlob(f"The blob {path} is corrupt: its {size} bytes have the SHA-256 {found}.", RESTORE)
        return path

    def check(self, sha256: str, suffix: str) -> Path:
        """As `verified`, of the file in the store itself and not of a copy."""
        return self.verified(sha256, suffix)

    def read(self, sha256: str, suffix: str) -> bytes:
        """The blob's content, checked; raises as `verified`."""
        return self.verified(sha256, suffix).read_bytes()

    def put_tensors(self, tensors: Mapping[str, "torch.Tensor"], metadata: dict[str, str] | None = None) -> StoredBlob:
        """Publishes named contiguous tensors as safetensors, text in the header; raises as `put_file`."""
        from safetensors.torch import save_file

        size = sum(tensor.nbytes for tensor in tensors.values())
        return self.put_file(lambda path: save_file(dict(tensors), path, metadata), "safetensors", size=size)

    def load_tensors(self, sha256: str) -> dict[str, "torch.Tensor"]:
        """The tensors of a checked blob, mapped from the file and not copied; raises as `verified`."""
        from safetensors.torch import load_file

        tensors: dict[str, torch.Tensor] = load_file(self.verified(sha256, "safetensors"))
        return tensors

    def put_table(self, table: "pd.DataFrame", *, group: int | None = None) -> StoredBlob:
        """Publishes a table as parquet, without its index; raises as `put_file`.

        Args:
            group: so many rows make a part that readers can skip as a whole.
        """
        size = int(table.memory_usage(deep=True).sum())
        # Bytes of equal weight side by side: so measured numbers shrink, which have no repetitions to name.
        floats = [name for name, kind in table.dtypes.items() if kind.kind == "f"]
        options: dict[str, Any] = {
            "compression": "zstd",
            "row_group_size": group,
            "use_byte_stream_split": floats,
            "use_dictionary": [name for name in table if name not in floats],
        }
        return self.put_file(lambda path: table.to_parquet(path, index=False, **options), "parquet", size=size)

    def load_table(self, sha256: str) -> "pd.DataFrame":
        """The table of a checked blob; raises as `verified`."""
        import pandas as pd

        return pd.read_parquet(self.verified(sha256, "parquet"))

    def address(self, sha256: str, suffix: str) -> str:
        """The blob's place as an URL, for people and other programs."""
        return self.path(sha256, suffix).as_uri()

    def size(self, sha256: str, suffix: str) -> int | None:
        """Bytes of a published blob, or None when there is none."""
        try:
            return self.path(sha256, suffix).stat().st_size
        except FileNotFoundError:
            return None

    def stored(self) -> Iterator[StoredFile]:
        """All published files."""
        for path in sorted((self.root / "sha256").glob("??/*")):
            with suppress(FileNotFoundError):
                about = path.stat()
                yield StoredFile(path.stem, path.suffix[1:], about.st_size, about.st_mtime)

    def delete(self, sha256: str, suffix: str) -> None:
        """Removes a published file; none is no error."""
        self.path(sha256, suffix).unlink(missing_ok=True)

    def orphans(self, known: Iterable[str]) -> list[StoredFile]:
        """Published files whose SHA-256 isn't among the `known` ones: harmless leavings of a killed job."""
        rows = set(known)
        return [file for file in self.stored() if file.sha256 not in rows]

    def clock(self) -> float:
        """Now, in seconds since 1970 by the store's clock, which needn't be this machine's or the database's."""
        return self._folder_clock()

    def unfinished(self, older_than: float = 3600.0) -> list[Path]:
        """Files begun more than `older_than` seconds ago and never published: leavings of a killed job."""
        horizon = self._folder_clock() - older_than
        found = []
        for path in sorted(self._temporaries.glob("*")):
            with suppress(FileNotFoundError):  # published since it was listed
                if path.stat().st_mtime <= horizon:
                    found.append(path)
        return found

    def _folder_clock(self) -> float:
        try:
            os.utime(self.root)  # a server's folder takes the server's time; needs no space
            return self.root.stat().st_mtime
        except OSError:  # not there yet, or may not be written
            return time.time()

    @property
    def _temporaries(self) -> Path:
        return self.root / "unfinished"

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        with _disk_full(self.root, None):
            self._temporaries.mkdir(parents=True, exist_ok=True)
        path = self._temporaries / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _disk_full(root: Path, size: int | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors and pyarrow report the operating system's error in their own types.
        code = error.errno if isinstance(error, OSError) else None
        if code not in (errno.ENOSPC, errno.EDQUOT) and "No space left on device" not in str(error):
            raise
        needed = "" if size is None else f"{size} bytes are needed and "
        free = shutil.disk_usage(root).free if root.exists() else 0
        raise DiskFull(
            f"The disk is full: {needed}{free} are free in {root}.",
            "Free some space there, or move TDLENS_HOME to a larger disk, and run the command again: "
            "it goes on where it was.",
        ) from error


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Waits until the file's content, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
