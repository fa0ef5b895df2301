"""What holds of blobs wherever they lie: in a folder, in memory, in an S3-compatible store."""

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from tdlens.blobs import BlobStore
from tdlens.errors import BlobsUnreachable, CorruptBlob, MissingBlob, NoSuchStore, UserError
from tdlens.remote_blobs import RemoteBlobStore, open_blobs
from tdlens.settings import Settings


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An empty bucket of a server on this machine."""
    server = pytest.importorskip("moto.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = server.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    running.start()
    given = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ |= given
    fsspec.filesystem("s3").mkdir("blobs")
    yield "s3://blobs/tdlens"
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    running.stop()


@pytest.fixture(params=["folder", "memory", "file", "moved", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    place = {
        "folder": lambda: "",
        "memory": lambda: f"memory://{uuid.uuid4().hex}",
        "file": lambda: (tmp_path / "elsewhere").as_uri(),
        "moved": lambda: MOVED + (tmp_path / "elsewhere").as_uri(),
        "s3": lambda: f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}",
    }[request.param]()
    return Settings(tmp_path / "home", "sqlite://", place)


MOVED = "moved:"
"""Marks a folder that is used as a store which must be written to under another name first, such as an SFTP server."""


def opened(settings: Settings) -> BlobStore:
    if settings.blobs_url.startswith(MOVED):
        return RemoteBlobStore(settings.blobs, settings.blobs_url.removeprefix(MOVED))
    return open_blobs(settings)


@pytest.fixture
def store(settings: Settings) -> BlobStore:
    return opened(settings)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> BlobStore:
    """The same store as another machine sees it: with no local copies."""
    return opened(Settings(tmp_path / "other", "sqlite://", settings.blobs_url)) if settings.blobs_url else None


def overwrite(store: BlobStore, sha256: str, suffix: str, data: bytes) -> None:
    """Damage the published file, and leave no local copy of it."""
    if isinstance(store, RemoteBlobStore):
        with fsspec.open(store.address(sha256, suffix), "wb") as file:
            file.write(data)
    else:
        store.path(sha256, suffix).write_bytes(data)


def test_what_is_put_is_read_here_and_elsewhere(store: BlobStore, elsewhere: BlobStore | None) -> None:
    tensors = {"x": torch.arange(12.0).reshape(3, 4)}
    blob = store.put_tensors(tensors)
    for reader in filter(None, (store, elsewhere)):
        assert torch.equal(reader.load_tensors(blob.sha256)["x"], tensors["x"])
        assert reader.size(blob.sha256, blob.suffix) == blob.bytes


def test_the_same_content_is_one_file(store: BlobStore) -> None:
    first, second, other = store.put_bytes(b"abc", "bin"), store.put_bytes(b"abc", "bin"), store.put_bytes(b"x", "bin")
    assert first == second
    assert {(file.sha256, file.suffix, file.bytes) for file in store.stored()} == {
        (first.sha256, "bin", 3),
        (other.sha256, "bin", 1),
    }
    assert [file.sha256 for file in store.orphans([first.sha256])] == [other.sha256]


@pytest.mark.parametrize("damaged", [b"ab", b"abd", b""])
def test_damage_is_noticed(store: BlobStore, elsewhere: BlobStore | None, damaged: bytes) -> None:
    blob = store.put_bytes(b"abc", "bin")
    overwrite(store, blob.sha256, "bin", damaged)
    reader = elsewhere or store
    with pytest.raises(CorruptBlob, match=blob.sha256[:12]):
        reader.read(blob.sha256, "bin")
    store.put_bytes(b"abc", "bin")  # computed again: the good one replaces it
    assert reader.read(blob.sha256, "bin") == b"abc"


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    blob = store.put_bytes(b"abc", "bin")
    store.delete(blob.sha256, "bin")
    store.delete(blob.sha256, "bin")
    assert store.size(blob.sha256, "bin") is None and list(store.stored()) == []
    with pytest.raises(MissingBlob, match=blob.sha256[:12]):
        store.read(blob.sha256, "bin")


def test_damage_behind_a_whole_local_copy_is_found(store: BlobStore) -> None:
    blob = store.put_bytes(b"abc", "bin")
    assert store.check(blob.sha256, "bin").read_bytes() == b"abc"
    overwrite(store, blob.sha256, "bin", b"abd")
    with pytest.raises(CorruptBlob, match=blob.sha256[:12]):
        store.check(blob.sha256, "bin")


def test_a_folder_by_its_address_is_no_remote_store(tmp_path: Path) -> None:
    store = open_blobs(Settings(tmp_path / "home", "sqlite://", (tmp_path / "shared").as_uri()))
    blob = store.put_bytes(b"abc", "bin")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file == tmp_path / "shared" / "sha256" / blob.sha256[:2] / f"{blob.sha256}.bin"


def test_a_damaged_local_copy_is_fetched_again(store: BlobStore) -> None:
    if not isinstance(store, RemoteBlobStore):
        pytest.skip("a folder has no local copies")
    blob = store.put_bytes(b"abc", "bin")
    store.path(blob.sha256, "bin").write_bytes(b"rot")
    assert store.read(blob.sha256, "bin") == b"abc"


@pytest.mark.parametrize("address", ["some/folder", "nonsense://x/y"])
def test_an_address_that_nothing_knows(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match="TDLENS_BLOBS"):
        open_blobs(Settings(tmp_path, "sqlite://", address)).put_bytes(b"abc", "bin")


def test_a_bucket_that_is_not_there(bucket: str, tmp_path: Path) -> None:
    store = open_blobs(Settings(tmp_path, "sqlite://", "s3://absent/x"))
    with pytest.raises(NoSuchStore, match="s3://absent/x"):
        store.put_bytes(b"abc", "bin")


def test_a_patient_store_waits_until_it_can_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdlens.remote_blobs.PAUSE", 0.01)
    store = open_blobs(Settings(tmp_path, "sqlite://", f"memory://{uuid.uuid4().hex}"))
    files = fsspec.filesystem("memory")
    put, failures, said = type(files).put_file, iter(range(3)), []

    def away(self: object, *given: object, **named: object) -> None:
        if next(failures, None) is not None:
            raise OSError("connection refused")
        put(self, *given, **named)

    monkeypatch.setattr(type(files), "put_file", away)
    with pytest.raises(BlobsUnreachable, match="connection refused"):
        store.put_bytes(b"abc", "bin")
    blob = store.patient(30, said.append).put_bytes(b"abc", "bin")
    assert store.check(blob.sha256, "bin").read_bytes() == b"abc"
    assert len(said) == 1 and said[0].endswith("connection refused. Waiting for it.")
