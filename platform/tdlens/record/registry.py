"""Rows that many jobs share: found, or made by whoever comes first."""

from typing import Any, TypeVar

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tdlens.blobs import BlobStore, StoredBlob
from tdlens.errors import BlobVanished
from tdlens.identity import digest
from tdlens.record.base import Base
from tdlens.record.ledger import Artifact, Blob, Study

Row = TypeVar("Row", bound=Base)


def find_or_create(session: Session, model: type[Row], key: dict[str, Any], /, **values: Any) -> Row:
    """The row whose unique attributes are `key`, made with `values` if there is none.

    Two processes that do this at once get the same row.
    """
    query = select(model).filter_by(**key)
    found = session.scalars(query).one_or_none()
    if found is not None:
        return found
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    session.execute(insert(model).values(**key, **values).on_conflict_do_nothing())
    return session.scalars(query).one()


def current_study(session: Session, *, name: str, title: str, config: dict[str, Any]) -> Study:
    """Makes the revision of study `name` with this configuration the current one, which views show.

    The first time a configuration is seen it becomes a new revision; the title follows the latest call.
    """
    if session.get_bind().dialect.name == "postgresql":
        # Two first revisions at once would collide; SQLite's sessions are alone already.
        session.execute(text("LOCK TABLE study IN SHARE ROW EXCLUSIVE MODE"))
    config_hash = digest(config)
    named = Study.name == name
    session.execute(update(Study).where(named, Study.config_hash != config_hash).values(is_current=False))
    study = session.scalars(select(Study).where(named, Study.config_hash == config_hash)).one_or_none()
    if study is None:
        latest = session.scalar(select(func.max(Study.revision)).where(named)) or 0
        study = Study(
            name=name,
            revision=latest + 1,
            title=title,
            config=config,
            config_hash=config_hash,
            is_current=True,
        )
        session.add(study)
    study.title, study.is_current = title, True
    session.flush()
    return study


def record_blob(session: Session, blob: StoredBlob) -> str:
    """The blob's row; gives its key.

    Raises:
        BlobVanished: the file was deleted meanwhile, as nothing named it yet.
    """
    row = find_or_create(session, Blob, {"sha256": blob.sha256}, suffix=blob.suffix, bytes=blob.bytes)
    # From here on `tdlens gc`, which deletes under locks that these two wait for, sees the row and leaves it.
    held = select(Blob.sha256).where(Blob.sha256 == blob.sha256).with_for_update(read=True, key_share=True)
    store: BlobStore = session.info["blobs"]
    if session.scalar(held) is None or store.size(blob.sha256, blob.suffix) is None:
        raise BlobVanished(
            f"The blob {blob.sha256} was deleted before it was recorded.",
            "Its unit is computed again; run gc with a longer --grace.",
        )
    return row.sha256


def record_artifact(session: Session, job_id: int, name: str, blob: StoredBlob) -> None:
    """Name a blob as one of a job's outputs."""
    session.add(Artifact(job_id=job_id, name=name, blob=record_blob(session, blob)))
