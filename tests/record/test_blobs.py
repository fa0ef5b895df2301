"""Blobs: atomic when published, checked when read, whatever goes wrong."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tdlens.blobs import BlobStore
from tdlens.errors import CorruptBlob, DiskFull, MissingBlob


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def everything(store: BlobStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.binary(max_size=5000))
def test_what_is_put_is_read(store: BlobStore, data: bytes) -> None:
    blob = store.put_bytes(data, "bin")
    assert (blob.sha256, blob.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert store.read(blob.sha256, "bin") == data
    assert store.put_bytes(data, "bin") == blob


def test_layout(store: BlobStore) -> None:
    blob = store.put_bytes(b"abc", "bin")
    assert everything(store) == [store.root / "sha256" / blob.sha256[:2] / f"{blob.sha256}.bin"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors(store: BlobStore, dtype: torch.dtype) -> None:
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    blob = store.put_tensors({"rows": rows, "mean": torch.ones(3)}, {"config": '{"k":1}'})
    assert store.put_tensors({"mean": torch.ones(3), "rows": rows}, {"config": '{"k":1}'}) == blob
    assert store.path(blob.sha256, "safetensors").stat().st_mode & 0o777 == 0o644
    loaded = store.load_tensors(blob.sha256)
    assert loaded.keys() == {"rows", "mean"}
    assert loaded["rows"].dtype == dtype and torch.equal(loaded["rows"], rows)


def test_writing_into_loaded_tensors_leaves_the_file_alone(store: BlobStore) -> None:
    blob = store.put_tensors({"x": torch.ones(1000)})
    store.load_tensors(blob.sha256)["x"].zero_()
    assert torch.equal(store.load_tensors(blob.sha256)["x"], torch.ones(1000))


def test_tables(store: BlobStore) -> None:
    table = pd.DataFrame({"latent": [3, 1], "r": [0.5, -0.25]})
    pd.testing.assert_frame_equal(store.load_table(store.put_table(table).sha256), table)


@pytest.mark.parametrize("damage", ["truncate", "flip", "append", "empty"])
def test_a_corrupt_blob_is_named(store: BlobStore, damage: str) -> None:
    blob = store.put_tensors({"x": torch.arange(100.0)})
    path = store.path(blob.sha256, "safetensors")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    damaged = {"truncate": data[:-1], "flip": data, "append": data + b"\0", "empty": b""}[damage]
    path.write_bytes(bytes(damaged))
    with pytest.raises(CorruptBlob, match=str(path)) as caught:
        store.load_tensors(blob.sha256)
    assert "tdlens doctor" in caught.value.remedy
    store.put_tensors({"x": torch.arange(100.0)})
    assert torch.equal(store.load_tensors(blob.sha256)["x"], torch.arange(100.0))


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    with pytest.raises(MissingBlob, match="0123"):
        store.read("0123", "bin")


def _no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.mkdir"])
def test_a_full_disk_leaves_nothing(store: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store.put_bytes(b"before", "bin")
    before = everything(store)
    monkeypatch.setattr(call, _no_space)
    with pytest.raises(DiskFull, match=r"5 bytes are needed|disk is full") as caught:
        store.put_bytes(b"after", "bin")
    assert str(store.root) in caught.value.message
    assert everything(store) == before


def test_libraries_that_report_a_full_disk_their_own_way(store: BlobStore) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(DiskFull, match="1000 bytes are needed"):
        store.put_file(write, "safetensors", size=1000)
    assert everything(store) == []


def test_other_errors_pass_and_leave_nothing(store: BlobStore) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        store.put_file(write, "bin")
    assert everything(store) == []


def test_order_of_publication(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's content is on the disk before its name is, and the name before anyone hears of it."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(f"flush {'folder' if target.is_dir() else 'file'} {os.path.relpath(target, store.root)}")
        fsync(descriptor)

    def record_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    blob = store.put_bytes(b"abc", "bin")
    assert events[0].startswith("flush file unfinished/")
    above = [f"flush folder {folder}" for folder in ("sha256", ".", "..")]
    assert events[1:] == [*above, "rename", f"flush folder sha256/{blob.sha256[:2]}"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tdlens.blobs import BlobStore
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
BlobStore(Path(sys.argv[1])).put_bytes(b"abc", "bin")
"""


def test_killed_before_the_rename(store: BlobStore) -> None:
    outcome = subprocess.run([sys.executable, "-c", KILLED, str(store.root)], check=False)
    assert outcome.returncode == -signal.SIGKILL
    assert list(store.stored()) == []
    assert store.unfinished() == []  # too young: it may still be written
    (leaving,) = store.unfinished(older_than=0.0)
    hour_ago = time.time() - 4000
    os.utime(leaving, (hour_ago, hour_ago))
    assert store.unfinished() == [leaving]
    blob = store.put_bytes(b"abc", "bin")
    assert store.read(blob.sha256, "bin") == b"abc"


def test_orphans(store: BlobStore) -> None:
    known, orphan = store.put_bytes(b"known", "bin"), store.put_bytes(b"orphan", "bin")
    assert [file.name for file in store.orphans([known.sha256])] == [f"{orphan.sha256}.bin"]
    assert store.orphans([known.sha256, orphan.sha256, "never put"]) == []


def test_orphans_of_a_store_that_was_never_used(store: BlobStore) -> None:
    assert store.orphans([]) == [] and store.unfinished() == []
