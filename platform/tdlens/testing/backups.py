"""Backup and restore."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from tdlens.backup import backup, restore
from tdlens.errors import CorruptBlob, UserError
from tdlens.fsck import check_blobs
from tdlens.garbage import NAMING, collect
from tdlens.maintenance import alone
from tdlens.record import Base, Blob, Record, Worker, record_blob
from tdlens.record.engine import make_engine
from tdlens.record.migrate import downgrade
from tdlens.settings import Settings
from tdlens.testing.backend import Backend
from tdlens.testing.blobs import kinds
from tdlens.testing.rows import fill, make_job


def fill_with_files(record: Record) -> None:
    """A row in every table, each blob with a file of the right size and content."""
    with record.session() as session:
        fill(session)
        session.flush()
        for blob in session.scalars(select(Blob)).all():
            stored = record.blobs.put_bytes(blob.sha256.encode(), "bin")
            fresh = Blob(sha256=stored.sha256, suffix="bin", bytes=stored.bytes)
            session.add(fresh)
            session.flush()
            for column in NAMING:
                moved = update(column.class_).where(column == blob.sha256)
                session.execute(moved.values({column.key: stored.sha256}))
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


class BackupTests(Backend):
    """A record is copied, lost and brought back."""

    def test_rehearsal(self, settings: Settings, tmp_path: Path) -> None:
        record = Record.open(settings)
        fill_with_files(record)
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

    def test_an_interrupted_restore_is_repeated_and_an_empty_record_filled(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = Record.open(settings)
        fill_with_files(record)
        before = dump(record)
        backup(record, tmp_path / "backup")
        record.close()
        emptied(settings)
        with monkeypatch.context() as patch:
            patch.setattr("tdlens.backup._load_sqlite", lambda *_: 1 / 0)
            patch.setattr("tdlens.backup.add_missing_partitions", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                restore(settings, tmp_path / "backup")
        record = Record.open(settings)  # as somebody else does meanwhile: there is a schema, and a worker in it
        with record.session() as session:
            session.add(Worker(owner="early", state="waiting"))
        record.close()
        restore(settings, tmp_path / "backup")
        record = Record.open(settings)
        assert dump(record) == before
        record.close()

    def test_an_interrupted_first_backup_is_gone_on_with(
        self, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with record.session() as session:
            record_blob(session, record.blobs.put_bytes(b"abc", "bin"))
        with alone(record), pytest.raises(UserError, match="already"):
            backup(Record.open(record.settings), tmp_path / "backup")
        with monkeypatch.context() as patch:
            patch.setattr("tdlens.backup._dumped_blobs", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                backup(record, tmp_path / "backup")
        assert backup(record, tmp_path / "backup").blobs == 1
        assert len(list((tmp_path / "backup").glob("database-*"))) == 1

    def test_a_damaged_blob_is_not_backed_up_and_the_earlier_backup_stays(self, record: Record, tmp_path: Path) -> None:
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

    def test_bad_backups_are_refused(self, record: Record, tmp_path: Path) -> None:
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

    def test_maintenance_is_done_by_one_at_a_time(self, record: Record, tmp_path: Path) -> None:
        other = Record.open(record.settings)
        with alone(record):
            for action in (lambda: collect(other, grace=0), lambda: backup(other, tmp_path / "backup")):
                with pytest.raises(UserError, match="already"):
                    action()
        collect(other, grace=0)
        other.close()
