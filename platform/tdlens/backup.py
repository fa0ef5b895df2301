"""A copy of the whole record in a folder, and the way back.

The folder holds `manifest.json`, the database's rows in a folder that the manifest names, and the blobs. The manifest
is replaced last and at once: a backup that was interrupted leaves the one before as it was. Blobs never change, so a
second backup into the same folder copies only new ones.
"""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import exists, inspect, select

import tdlens
from tdlens.blobs import BlobStore, StoredBlob, flush
from tdlens.errors import UserError
from tdlens.maintenance import alone
from tdlens.record import Base, Record, Worker
from tdlens.record.engine import clear_errors, connect_postgresql, make_engine
from tdlens.record.migrate import check, current_revision, downgrade, upgrade
from tdlens.record.partitions import PARENT, add_missing_partitions
from tdlens.remote_blobs import open_blobs
from tdlens.settings import Settings

MANIFEST = "manifest.json"
SQLITE_FILE = "tdlens.db"


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    tdlens: str
    """Version that wrote it."""
    revision: str
    """Revision of the schema."""
    dialect: str
    """sqlite or postgresql."""
    made: str
    """When it was begun, UTC."""
    database: str
    """Name of the folder with the rows."""
    files: dict[str, str]
    """SHA-256 of each file in it."""
    tables: dict[str, int]
    """Rows of each table, parents first."""
    blobs: int

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Raises UserError where there is no whole backup."""
        try:
            return cls(**json.loads((folder / MANIFEST).read_text()))
        except FileNotFoundError:
            raise UserError(f"There is no backup in {folder}.", "Give the folder that tdlens backup wrote.") from None
        except (ValueError, TypeError):
            raise UserError(
                f"{folder / MANIFEST} can't be read.", "Use another backup; this one is damaged or from a newer tdlens."
            ) from None


def backup(record: Record, folder: Path, advance: Callable[[int, int], None] = lambda done, total: None) -> Manifest:
    """Copies the record into `folder`; runs and workers may go on meanwhile.

    Args:
        folder: a new one, or one with an earlier backup, which is replaced.
        advance: is called with the number of blobs copied and the number of all.

    Raises:
        MissingBlob, CorruptBlob: a blob isn't as recorded; the earlier backup stays as it was.
        UserError: the folder holds something else; another backup is at work.
    """
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    # What an interrupted first backup left is gone on with.
    if MANIFEST not in present and any(name != "blobs" and not name.startswith("database-") for name in present):
        raise UserError(f"{folder} isn't empty and holds no backup.", "Give a new folder, or an earlier backup's.")
    made = datetime.now(UTC)
    database = folder / f"database-{made:%Y%m%dT%H%M%S%f}"
    with alone(record):  # no blob goes while its copy is made
        database.mkdir(parents=True)
        dialect = record.engine.dialect.name
        revision = check(record.settings)
        tables = (_dump_sqlite if dialect == "sqlite" else _dump_postgresql)(record, database)
        blobs = _dumped_blobs(database, dialect)
        target = BlobStore(folder / "blobs")
        for number, blob in enumerate(blobs):
            advance(number, len(blobs))
            if target.size(blob.sha256, blob.suffix) != blob.bytes:
                source = record.blobs.verified(blob.sha256, blob.suffix)
                target.put_file(partial(shutil.copyfile, source), blob.suffix, size=blob.bytes)
    manifest = Manifest(
        tdlens=tdlens.__version__,
        revision=revision,
        dialect=dialect,
        made=made.isoformat(timespec="seconds"),
        database=database.name,
        files={path.name: _hash(path) for path in sorted(database.iterdir())},
        tables=tables,
        blobs=len(blobs),
    )
    temporary = folder / f"{MANIFEST}.new"
    temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    for path in (*database.iterdir(), database, temporary):
        flush(path)
    temporary.replace(folder / MANIFEST)
    flush(folder)  # before the earlier one goes
    for old in folder.glob("database-*"):
        if old != database:
            shutil.rmtree(old)
    return manifest


def restore(
    settings: Settings, folder: Path, advance: Callable[[int, int], None] = lambda done, total: None
) -> Manifest:
    """Makes an empty record what the backup in `folder` holds, and brings its schema up to date.

    Raises:
        UserError: there is no whole backup, it is of another kind of database or of a newer tdlens, or the record
            holds something already, be it only a schema that somebody uses.
        CorruptBlob, MissingBlob: a blob of the backup is damaged; the record stays empty.
    """
    manifest = Manifest.read(folder)
    kind = "sqlite" if settings.sqlite_path is not None else "postgresql"
    if kind != manifest.dialect:
        raise UserError(
            f"The backup is of a {manifest.dialect} database, and {settings.database} is {kind}.",
            "Set TDLENS_DATABASE_URL to an empty database of the backup's kind, or unset it for SQLite.",
        )
    if current_revision(settings) is not None and not _is_empty(settings):
        raise UserError(
            f"There is a record at {settings.database} already.",
            "Restore into another: set TDLENS_HOME (or TDLENS_DATABASE_URL) to a place that holds none.",
        )
    for name, expected in manifest.files.items():
        path = folder / manifest.database / name
        if not path.is_file() or _hash(path) != expected:
            raise UserError(f"{path} is missing or damaged.", "Use another backup.")
    blobs = _dumped_blobs(folder / manifest.database, manifest.dialect)
    source = BlobStore(folder / "blobs")

    target = open_blobs(settings)
    for number, blob in enumerate(blobs):
        advance(number, len(blobs))
        path = source.verified(blob.sha256, blob.suffix)
        target.put_file(partial(shutil.copyfile, path), blob.suffix, size=blob.bytes)
    # Blobs first, rows last and at once: an interrupted restore leaves orphans and at most an empty record.
    if current_revision(settings) is not None:
        downgrade(settings, "base")
    if manifest.dialect == "sqlite":
        _load_sqlite(settings, folder / manifest.database / SQLITE_FILE)
    else:
        upgrade(settings, manifest.revision)
        _load_postgresql(settings, folder / manifest.database, list(manifest.tables))
    upgrade(settings)
    return manifest


def _is_empty(settings: Settings) -> bool:
    """Whether there is a schema and nothing in it; workers may have entered their names."""
    engine = make_engine(settings)
    try:
        with clear_errors(settings), engine.connect() as connection:
            present = set(inspect(connection).get_table_names())
            tables = [table for table in Base.metadata.sorted_tables if table.name in present - {Worker.__tablename__}]
            return not any(connection.scalar(select(exists(select(table)))) for table in tables)
    finally:
        engine.dispose()


def _dump_sqlite(record: Record, folder: Path) -> dict[str, int]:
    path = record.settings.sqlite_path
    assert path is not None
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(folder / SQLITE_FILE)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
        return {
            table.name: target.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0]  # noqa: S608
            for table in Base.metadata.sorted_tables
        }


def _load_sqlite(settings: Settings, dumped: Path) -> None:
    path = settings.sqlite_path
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():  # its log must not be taken for the new file's
        with clear_errors(settings), closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    temporary = path.with_suffix(".restoring")
    shutil.copyfile(dumped, temporary)
    flush(temporary)
    temporary.replace(path)
    flush(path.parent)


def _dump_postgresql(record: Record, folder: Path) -> dict[str, int]:
    """Every table as COPY writes it, all as of one moment. It needs no client program of the server's version."""
    counts = {}
    with clear_errors(record.settings), connect_postgresql(record.settings) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for table in Base.metadata.sorted_tables:
            columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
            query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, sql.Identifier(table.name))
            with (folder / f"{table.name}.copy").open("wb") as file, connection.cursor() as cursor:
                with cursor.copy(query) as copy:
                    for part in copy:
                        file.write(part)
                counts[table.name] = cursor.rowcount
        names = {table.name: [column.name for column in table.columns] for table in Base.metadata.sorted_tables}
    (folder / "columns.json").write_text(json.dumps(names))
    return counts


def _load_postgresql(settings: Settings, folder: Path, tables: list[str]) -> None:
    names = json.loads((folder / "columns.json").read_text())
    with clear_errors(settings), connect_postgresql(settings) as connection, connection.cursor() as cursor:
        for table in tables:
            if table == PARENT:
                add_missing_partitions(cursor)
            columns = sql.SQL(", ").join(map(sql.Identifier, names[table]))
            query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
            with cursor.copy(query) as copy, (folder / f"{table}.copy").open("rb") as file:
                while part := file.read(1 << 20):
                    copy.write(part)
            sequence = cursor.execute(
                "SELECT pg_get_serial_sequence(%s, 'id') WHERE EXISTS (SELECT 1 FROM information_schema.columns"
                " WHERE table_name = %s AND table_schema = current_schema() AND column_name = 'id')",
                (table, table),
            ).fetchone()
            if sequence is not None and sequence[0] is not None:
                highest = sql.SQL("SELECT setval(%s, COALESCE(max(id), 1), max(id) IS NOT NULL) FROM {}")
                cursor.execute(highest.format(sql.Identifier(table)), (sequence[0],))


def _dumped_blobs(folder: Path, dialect: str) -> list[StoredBlob]:
    """The blobs that the dumped rows name: read from the dump, as the record may have more by now."""
    if dialect == "sqlite":
        with closing(sqlite3.connect(f"file:{folder / SQLITE_FILE}?mode=ro", uri=True)) as connection:
            return [StoredBlob(*row) for row in connection.execute("SELECT sha256, suffix, bytes FROM blob")]
    names = json.loads((folder / "columns.json").read_text())["blob"]
    lines = (folder / "blob.copy").read_text().splitlines()
    found = [dict(zip(names, line.split("\t"), strict=True)) for line in lines]
    return [StoredBlob(row["sha256"], row["suffix"], int(row["bytes"])) for row in found]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
