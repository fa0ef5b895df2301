"""Blobs in an object store or on another machine, by any address that fsspec knows.

Every blob is first published in a local folder, exactly as without a remote store, and then copied; reading copies the
other way. So what is read is always a checked local file that can be mapped into memory. Credentials come from the
environment, as the file system's own package reads them, and are never kept.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from tdlens.blobs import RESTORE, BlobStore, StoredBlob, StoredFile
from tdlens.errors import BlobsUnreachable, CorruptBlob, MissingBlob, NoSuchStore, UserError
from tdlens.settings import Settings

T = TypeVar("T")
PAUSE = 5.0
"""Seconds between two attempts to reach a store."""
ATOMIC = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"))
"""Protocols whose files appear whole or not at all; elsewhere a file is uploaded under another name and moved."""


def open_blobs(settings: Settings) -> BlobStore:
    """The record's blobs: a folder, or the address that TDLENS_BLOBS names; file:// is a folder too.

    Raises:
        UserError: nothing installed here knows the address.
    """
    if not settings.blobs_url:
        return BlobStore(settings.blobs)
    if "://" not in settings.blobs_url:
        raise UserError(
            f"TDLENS_BLOBS is {settings.blobs_url!r}, which is no address.",
            "Give one with a protocol, such as s3://bucket/folder, or unset it to keep blobs in TDLENS_HOME.",
        )
    if settings.blobs_url.split("://")[0] in ("file", "local"):
        return BlobStore(Path(_file_system(settings.blobs_url)[1]))
    return RemoteBlobStore(settings.blobs, settings.blobs_url.rstrip("/"))


@dataclass(frozen=True)
class RemoteBlobStore(BlobStore):
    """Blobs at `url`, laid out as in a folder; `root` is the folder of local copies."""

    url: str
    patience: float = 0.0
    """Seconds for which it is tried again when it can't be reached."""
    tell: Callable[[str], None] = lambda line: None
    """Takes a line for people when that begins."""

    def patient(self, seconds: float, tell: Callable[[str], None]) -> BlobStore:
        return replace(self, patience=seconds, tell=tell)

    def put_file(self, write: Callable[[Path], object], suffix: str, *, size: int | None = None) -> StoredBlob:
        blob = super().put_file(write, suffix, size=size)
        target = self._place(blob.sha256, suffix)

        def upload() -> None:
            with self._errors() as files:
                if self._atomic:  # they have no folders: making one would make a bucket
                    files.put_file(str(self.path(blob.sha256, suffix)), target)
                else:
                    temporary = f"{self._base}/unfinished/{uuid.uuid4().hex}"
                    for folder in (f"{self._base}/unfinished", target.rsplit("/", 1)[0]):
                        files.makedirs(folder, exist_ok=True)
                    files.put_file(str(self.path(blob.sha256, suffix)), temporary)
                    files.mv(temporary, target)

        self._patiently(upload)
        return blob

    def verified(self, sha256: str, suffix: str) -> Path:
        with suppress(MissingBlob, CorruptBlob):
            return super().verified(sha256, suffix)
        return self._patiently(lambda: self.check(sha256, suffix))

    def check(self, sha256: str, suffix: str) -> Path:
        with self._errors() as files:

            def fetch(path: Path) -> None:
                files.get_file(self._place(sha256, suffix), str(path))

            try:
                found = super().put_file(fetch, suffix)
            except FileNotFoundError:
                address = self.address(sha256, suffix)
                raise MissingBlob(f"The blob {address} is missing.", RESTORE) from None
        if found.sha256 != sha256:
            super().delete(found.sha256, suffix)
            raise CorruptBlob(
                f"The blob {self.address(sha256, suffix)} is corrupt: its {found.bytes} bytes have the SHA-256 "
                f"{found.sha256}.",
                RESTORE,
            )
        return self.path(sha256, suffix)

    def address(self, sha256: str, suffix: str) -> str:
        return f"{self.url}/sha256/{sha256[:2]}/{sha256}.{suffix}"

    def size(self, sha256: str, suffix: str) -> int | None:
        with self._errors() as files:
            try:
                return int(files.info(self._place(sha256, suffix))["size"])
            except FileNotFoundError:
                return None

    def clock(self) -> float:
        probe = f"{self._base}/unfinished/{uuid.uuid4().hex}"
        with self._errors() as files:
            if not self._atomic:
                files.makedirs(f"{self._base}/unfinished", exist_ok=True)
            files.pipe_file(probe, b"what time is it?")
            try:
                return _modified(files.info(probe))
            finally:
                files.rm_file(probe)

    def stored(self) -> Iterator[StoredFile]:
        with self._errors() as files:
            try:
                found = files.find(f"{self._base}/sha256", detail=True)
            except FileNotFoundError:
                found = {}
            for name, about in sorted(found.items()):
                stem, _, suffix = name.rsplit("/", 1)[-1].partition(".")
                yield StoredFile(stem, suffix, int(about["size"]), _modified(about))

    def delete(self, sha256: str, suffix: str) -> None:
        super().delete(sha256, suffix)
        with self._errors() as files, suppress(FileNotFoundError):
            files.rm_file(self._place(sha256, suffix))

    def _patiently(self, action: Callable[[], T]) -> T:
        end, told = time.monotonic() + self.patience, False
        while True:
            try:
                return action()
            except BlobsUnreachable as error:
                if time.monotonic() >= end:
                    raise
                if not told:
                    self.tell(f"{error.message.rstrip('.')}. Waiting for it.")
                    told = True
                time.sleep(min(PAUSE, self.patience))

    @property
    def _atomic(self) -> bool:
        return self.url.split("://")[0] in ATOMIC

    @property
    def _base(self) -> str:
        return str(_file_system(self.url)[1])

    def _place(self, sha256: str, suffix: str) -> str:
        return f"{self._base}/sha256/{sha256[:2]}/{sha256}.{suffix}"

    @contextmanager
    def _errors(self) -> Iterator[Any]:
        """The file system; what it raises about itself becomes a message."""
        files = _file_system(self.url)[0]
        files.invalidate_cache()  # others write there too
        try:
            yield files
        except FileNotFoundError:
            # a bucket that isn't there says the same as a file that isn't
            raise NoSuchStore(f"There is no place {self.url}.", "Make it, or correct TDLENS_BLOBS.") from None
        except (UserError, GeneratorExit):
            raise
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _LIBRARIES:
                raise
            raise BlobsUnreachable(
                f"{self.url} can't be used: {str(error).strip() or type(error).__name__}",
                "Check the address in TDLENS_BLOBS, the network, and the credentials in the environment.",
            ) from error


_LIBRARIES = frozenset(("aiobotocore", "botocore", "aiohttp", "gcsfs", "adlfs", "azure", "google", "paramiko"))


@cache
def _file_system(url: str) -> tuple[Any, str]:
    try:
        files, base = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UserError(
            f"TDLENS_BLOBS={url}: {error}", "Install the package that it names; for s3: pip install 'tdlens[s3]'"
        ) from None
    except ValueError as error:
        raise UserError(f"TDLENS_BLOBS={url}: {error}", "Give an address whose protocol fsspec knows.") from None
    return files, base.rstrip("/")


def _modified(about: dict[str, Any]) -> float:
    for key in ("LastModified", "mtime", "created", "updated", "last_modified"):
        value = about.get(key)
        if value is not None:
            return float(value.timestamp() if hasattr(value, "timestamp") else value)
    return 0.0
