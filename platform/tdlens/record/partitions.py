"""Correlations by the hundred thousand: each analysis comes and goes as a whole.

On PostgreSQL an analysis has a table of its own, filled and indexed before anybody sees it and then attached to
`latent_correlation` as a partition. Deleting the analysis drops it (a trigger of the schema), however much it holds.
"""

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.orm import Session

from tdlens.record.bulk import insert_columns, new_ids
from tdlens.record.correlations import Analysis, LatentCorrelation

PARENT = LatentCorrelation.__tablename__
PARTITION = re.compile(rf"{PARENT}_\d+")
"""Names of partitions."""


def insert_analysis(session: Session, analysis: Analysis, correlations: Mapping[str, Any]) -> None:
    """Adds an analysis with its correlations.

    Publishers of other analyses wait for each other only while the finished table is attached.

    Args:
        analysis: without its id, which it is given.
        correlations: columns of `LatentCorrelation` besides `analysis_id`, as `insert_columns` takes them.
    """
    if session.get_bind().dialect.name == "sqlite":
        session.add(analysis)
        session.flush()
        insert_columns(session, LatentCorrelation, {"analysis_id": analysis.id} | dict(correlations))
        return
    (analysis.id,) = new_ids(session, Analysis, 1)
    partition = f"{PARENT}_{analysis.id}"
    keys = ", ".join(column.name for column in LatentCorrelation.__table__.primary_key)
    run = session.connection().exec_driver_sql
    run(f"CREATE TABLE {partition} (LIKE {PARENT})")
    insert_columns(session, LatentCorrelation, {"analysis_id": analysis.id} | dict(correlations), into=partition)
    # The check spares ATTACH another look at every row.
    run(f"ALTER TABLE {partition} ADD PRIMARY KEY ({keys}), ADD CONSTRAINT own CHECK (analysis_id = {analysis.id})")
    run(f"CREATE INDEX ON {partition} (block, r)")
    run(f"ANALYZE {partition}")  # the first query shouldn't have to guess what is in it
    # ATTACH locks these to make the foreign keys. Whoever wrote to one of them first would wait for another who did.
    run("LOCK TABLE analysis, sae_checkpoint, signal IN SHARE ROW EXCLUSIVE MODE")
    session.add(analysis)
    session.flush()
    run(f"ALTER TABLE {PARENT} ATTACH PARTITION {partition} FOR VALUES IN ({analysis.id})")
    run(f"ALTER TABLE {partition} DROP CONSTRAINT own")


def lock_for_deletion(session: Session) -> None:
    """To be called before analyses, or jobs that made some, are deleted.

    Publishers hold the whole table first and the analyses second; whoever deletes must take them in the same order.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.connection().exec_driver_sql(f"LOCK TABLE {PARENT} IN ACCESS EXCLUSIVE MODE")


def add_missing_partitions(cursor: psycopg.Cursor[Any]) -> None:
    """Gives every analysis its partition, if the schema has them; for correlations that are copied in afterwards."""
    partitioned = "SELECT 1 FROM pg_partitioned_table WHERE partrelid = to_regclass(%s)"
    if cursor.execute(partitioned, (PARENT,)).fetchone() is None:
        return
    missing = "SELECT id FROM analysis WHERE to_regclass(%s || id) IS NULL ORDER BY id"
    for (analysis_id,) in cursor.execute(missing, (f"{PARENT}_",)).fetchall():
        make = sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES IN ({})")
        partition = sql.Identifier(f"{PARENT}_{analysis_id}")
        cursor.execute(make.format(partition, sql.Identifier(PARENT), sql.Literal(analysis_id)))
