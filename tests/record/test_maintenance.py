"""fsck, gc, backup and restore, on both databases."""

import json
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from sqlalchemy import select, text

from jobs.recording import record_artifact, record_blob
from tdlens.backup import backup, restore
from tdlens.errors import BlobVanished, CorruptBlob, UserError
from tdlens.fsck import check_blobs
from tdlens.garbage import collect
from tdlens.maintenance import alone
from tdlens.record import ActivationShard, Artifact, Base, Blob, Capture, Model, Record
from tdlens.record.engine import make_engine
from tdlens.record.migrate import downgrade
from tdlens.settings import Settings
from tests.record.rows import fill, make_job


def kinds(record: Record, *, full: bool = True) -> list[str]:
    return sorted(finding.kind for finding in check_blobs(record, full=full))


@pytest.fixture
def shard(record: Record) -> tuple[Record, Path]:
    """A record with one activation shard and its file."""
    blob = record.blobs.put_tensors({"activations": torch.zeros(6, 4), "mean": torch.zeros(4)})
    with record.session() as session:
        job = make_job(session, "shard", state="done", lease_until=None, finished_at=pd.Timestamp.now("UTC"))
        model = Model(
            name="m", source="", fingerprint="f", architecture="llama", n_blocks=1, d_model=4, n_parameters=1,
            dtype="float32",
        )  # fmt: skip
        session.add(model)
        session.flush()
        capture = Capture(
            job_id=job.id, model_id=model.id, positions="decision", hook="block_output", dtype="float32", n_rows=6
        )
        session.add(capture)
        record_blob(session, blob)
        session.flush()
        about = {"block": 1, "first_row": 0, "n_rows": 6, "d": 4, "dtype": "float32"}
        session.add(ActivationShard(capture_id=capture.id, blob=blob.sha256, **about))
    return record, record.blobs.path(blob.sha256, "safetensors")


def test_an_intact_record(shard: tuple[Record, Path]) -> None:
    assert kinds(shard[0]) == []


def test_damage_of_each_kind_is_found(shard: tuple[Record, Path]) -> None:
    record, path = shard
    whole = path.read_bytes()
    path.unlink()
    assert kinds(record, full=False) == ["missing"]
    path.write_bytes(whole[:-1])
    assert kinds(record, full=False) == ["size"]
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    assert kinds(record, full=False) == [] and kinds(record) == ["content"]
    path.write_bytes(whole)
    record.blobs.put_bytes(b"left by a killed run", "bin")
    assert kinds(record) == ["orphan"]


@pytest.mark.parametrize("change", ["n_rows = 5", "d = 3", "dtype = 'bfloat16'"])
def test_a_shape_other_than_recorded_is_found(shard: tuple[Record, Path], change: str) -> None:
    record = shard[0]
    with record.session() as session:
        session.execute(text(f"UPDATE activation_shard SET {change}"))  # noqa: S608
    assert kinds(record, full=False) == [] and kinds(record) == ["shape"]


def age(record: Record, seconds: float) -> None:
    for file in record.blobs.stored():
        path = record.blobs.path(file.sha256, file.suffix)
        os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def test_gc_deletes_what_nothing_names_once_it_is_old(shard: tuple[Record, Path]) -> None:
    record, kept = shard
    orphan = record.blobs.put_bytes(b"orphan", "bin")
    found = collect(record, grace=3600)
    assert (found.files, found.kept) == ([], 1)
    age(record, 4000)
    looked = collect(record, grace=3600, dry_run=True)
    assert [file.sha256 for file in looked.files] == [orphan.sha256] and looked.bytes == 6
    assert record.blobs.size(orphan.sha256, "bin") == 6
    assert collect(record, grace=3600) == looked
    assert record.blobs.size(orphan.sha256, "bin") is None and kept.exists() and kinds(record) == []


def test_gc_spares_what_a_unit_in_progress_may_be_about_to_name(record: Record) -> None:
    with record.session() as session:
        make_job(session, "live", started_at=pd.Timestamp.now("UTC") - pd.Timedelta(hours=10))
    record.blobs.put_bytes(b"of the unit", "bin")
    age(record, 5 * 3600)  # older than the grace period, younger than the unit
    assert collect(record, grace=3600).kept == 1
    age(record, 6 * 3600)
    assert collect(record, grace=3600).kept == 0


def test_a_lease_that_ran_out_holds_nothing(record: Record) -> None:
    then = pd.Timestamp.now("UTC") - pd.Timedelta(hours=10)
    with record.session() as session:
        make_job(session, "dead", started_at=then, lease_until=then)
    record.blobs.put_bytes(b"of the unit", "bin")
    age(record, 5 * 3600)
    assert len(collect(record, grace=3600).files) == 1


def test_gc_forgets_blobs_that_no_row_names_any_more(shard: tuple[Record, Path]) -> None:
    record, path = shard
    with record.session() as session:
        session.execute(text("DELETE FROM activation_shard"))
    age(record, 10)
    found = collect(record, grace=0)
    assert len(found.rows) == len(found.files) == 1 and not path.exists()
    with record.session(read_only=True) as session:
        assert session.scalars(select(Blob)).all() == []


def test_a_blob_deleted_before_its_row_is_noticed(record: Record) -> None:
    blob = record.blobs.put_bytes(b"abc", "bin")
    age(record, 10)
    collect(record, grace=0)
    with pytest.raises(BlobVanished), record.session() as session:
        record_blob(session, blob)
    with record.session(read_only=True) as session:
        assert session.scalars(select(Blob)).all() == []


def test_publishers_and_gc_at_once_never_leave_a_row_without_its_file(record: Record) -> None:
    with record.session() as session:
        job_id = make_job(session, "j").id
    over = threading.Event()

    def publish() -> None:
        for number in range(40):
            with suppress(FileNotFoundError, BlobVanished):  # both are noticed, and the unit computed again
                blob = record.blobs.put_bytes(b"%d" % (number % 4), "bin")
                os.utime(record.blobs.path(blob.sha256, "bin"), (0, 0))  # as an old orphan that is put again
                with record.session() as session:
                    record_artifact(session, job_id, str(number), blob)
        over.set()

    def forget() -> None:
        while not over.is_set():
            with record.session() as session:
                session.execute(text("UPDATE job SET state = 'lost', lease_until = NULL"))
            collect(record, grace=0)

    threads = [threading.Thread(target=publish), threading.Thread(target=forget)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with record.session(read_only=True) as session:
        named = set(session.scalars(select(Artifact.blob)))
    assert named and all(record.blobs.size(sha256, "bin") is not None for sha256 in named)


def filled(record: Record) -> None:
    """A row in every table, each blob with a file of the right size and content."""
    with record.session() as session:
        fill(session)
        session.flush()
        for blob in session.scalars(select(Blob)).all():
            stored = record.blobs.put_bytes(blob.sha256.encode(), "bin")
            fresh = Blob(sha256=stored.sha256, suffix="bin", bytes=stored.bytes)
            session.add(fresh)
            session.flush()
            for table in ("artifact", "activation_shard", "sae_checkpoint", "coverage"):
                move = text(f"UPDATE {table} SET blob = :new WHERE blob = :old")  # noqa: S608
                session.execute(move, {"new": stored.sha256, "old": blob.sha256})
            session.delete(blob)


def dump(record: Record) -> dict[str, list[str]]:
    with record.session(read_only=True) as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table)).all())) for table in Base.metadata.sorted_tables
        }


def emptied(settings: Settings) -> None:
    """Lose the record: database and blobs."""
    downgrade(settings, "base")
    if settings.sqlite_path is not None:
        settings.sqlite_path.unlink()
    else:
        engine = make_engine(settings)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE tdlens_version"))
        engine.dispose()
    shutil.rmtree(settings.home / "blobs")


def test_rehearsal(settings: Settings, tmp_path: Path) -> None:
    record = Record.open(settings)
    filled(record)
    before = dump(record)
    made = backup(record, tmp_path / "backup")
    assert made.tables["step"] == len(before["step"]) and min(made.tables.values()) > 0 and made.blobs >= 2
    with record.session() as session:  # a second one, of a record that went on
        make_job(session, "later")
        record_blob(session, record.blobs.put_bytes(b"later", "bin"))
    later = dump(record)
    assert backup(record, tmp_path / "backup").blobs == made.blobs + 1
    assert len(list((tmp_path / "backup").glob("database-*"))) == 1
    record.close()

    emptied(settings)
    restore(settings, tmp_path / "backup")
    record = Record.open(settings)
    assert dump(record) == later
    assert kinds(record, full=False) == []
    assert [found for found in check_blobs(record, full=True) if found.kind == "content"] == []
    with record.session() as session:  # the next number is free
        make_job(session, "after the restore")
    record.close()
    with pytest.raises(UserError, match=r"a record at .* already"):
        restore(settings, tmp_path / "backup")


def test_a_damaged_blob_is_not_backed_up_and_the_earlier_backup_stays(record: Record, tmp_path: Path) -> None:
    with record.session() as session:
        blob = record.blobs.put_bytes(b"abc", "bin")
        record_blob(session, blob)
    backup(record, tmp_path / "backup")
    manifest = (tmp_path / "backup" / "manifest.json").read_text()
    with record.session() as session:
        other = record.blobs.put_bytes(b"xyz", "bin")
        record_blob(session, other)
    record.blobs.path(other.sha256, "bin").write_bytes(b"xyy")
    with pytest.raises(CorruptBlob):
        backup(record, tmp_path / "backup")
    assert (tmp_path / "backup" / "manifest.json").read_text() == manifest


def test_bad_backups_are_refused(record: Record, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    with record.session() as session:
        make_job(session, "j")
    other = replace(record.settings, home=tmp_path / "new", database_url=f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(UserError, match="no backup in"):
        restore(other, folder)
    made = backup(record, folder)
    if made.dialect == "postgresql":
        with pytest.raises(UserError, match="of a postgresql database"):
            restore(other, folder)
        return
    (path,) = [path for path in (folder / made.database).iterdir() if path.name in made.files]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="missing or damaged"):
        restore(other, folder)
    (folder / "manifest.json").write_text(json.dumps({"tdlens": "99"}))
    with pytest.raises(UserError, match="can't be read"):
        restore(other, folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    with pytest.raises(UserError, match="isn't empty"):
        backup(record, tmp_path / "full")


def test_maintenance_is_done_by_one_at_a_time(record: Record, tmp_path: Path) -> None:
    other = Record.open(record.settings)
    with alone(record):
        for action in (lambda: collect(other, grace=0), lambda: backup(other, tmp_path / "backup")):
            with pytest.raises(UserError, match="already"):
                action()
    collect(other, grace=0)
    other.close()
