"""The record of correlations at the size of Llama 3 70B: publishing, the canonical query, retiring an analysis.

    PYTHONPATH=. python benchmarks/record_correlations.py [--blocks 80] [--latents 65536] [--signals 20] [--rounds 5]

By default 80 blocks x 65,536 latents x 20 signals = 104.9 million estimates, with the columns that a study has: the
whole matrix of each block in parquet, the strongest 256 per block and signal and all above the cutoff in SQL, coverage
complete. r has the spread of a null, with a few latents that follow a signal. On PostgreSQL (a database of its own on
the server that TDLENS_TEST_POSTGRES names, with the server's settings) and on SQLite.

Publishing is compared with a raw COPY of the very bytes that it sends: the copying alone, into a table without indexes
(limit: 0.8 of the raw rate), and as a whole, with the same keys, indexes and ATTACH. Rounds of both run in turns. The
query is timed on an open connection, beside 40 analyses of earlier revisions (limit: 5 ms); so is the deletion of the
analysis (limit on PostgreSQL, where it is a partition: 100 ms).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from rich.progress import track
from sqlalchemy import delete, select

from jobs.stages.rank import KEPT, strongest
from tdlens.record import (
    Analysis,
    Coverage,
    Job,
    Model,
    Record,
    Signal,
    StudyJob,
    current_study,
    insert_analysis,
    insert_columns,
    insert_rows,
    record_blob,
)
from tdlens.record.copy_binary import Numbers, encode
from tdlens.record.correlations import LatentCorrelation
from tdlens.settings import Settings
from tests.databases import sqlite_settings, temporary_database

TOP, CUTOFF = 256, 0.5
QUERY = (Path(__file__).parents[1] / "docs/queries/latents_of_a_block.sql").read_text()


def matrix(rng: np.random.Generator, block: int, signals: list[str], latents: int) -> pd.DataFrame:
    """All correlations of a block, as the correlate stage writes them."""
    n = len(signals) * latents
    r = np.clip(rng.normal(0, 0.08, (len(signals), latents)), -1, 1)
    r[:, :40] = rng.uniform(-0.9, 0.9, (len(signals), 40))
    latent = np.argsort(-np.abs(r), axis=1, kind="stable")
    columns: dict[str, Any] = {
        "block": block,
        "signal": np.repeat(signals, latents),
        "latent": latent.ravel(),
        "frequency": rng.random(n),
        "rms": rng.random(n),
        "r": np.take_along_axis(r, latent, axis=1).ravel(),
    }
    for name in (*KEPT[1:], "r_partial_selection", "z"):
        columns[name] = columns["r"] + rng.normal(0, 0.01, n)
    return pd.DataFrame(columns | {"n": 18_000, "n_rollouts": 300})


class Study:
    """Everything that an analysis refers to, and what of it goes into SQL."""

    def __init__(self, record: Record, kept: pd.DataFrame, coverage: list[dict[str, Any]]) -> None:
        self.record = record
        with record.session() as session:
            model = Model(
                name="llama", source="", fingerprint="f", architecture="llama", n_blocks=80, d_model=8192,
                n_parameters=1, dtype="bfloat16",
            )  # fmt: skip
            study = current_study(session, name="big", title="", config={})
            job = Job(stage="rank", key="sae:paper", identity="x", config={}, attempt=1, owner="me")
            names = dict.fromkeys(kept["signal"])
            signals = {
                name: Signal(name=name, agent="q", parameters={}, parameters_hash="", description="") for name in names
            }
            session.add_all([model, job, *signals.values()])
            session.flush()
            session.add(StudyJob(study_id=study.id, job_id=job.id))
            for blob in {row["blob"].sha256: row["blob"] for row in coverage}.values():
                record_blob(session, blob)
            self.ids = {name: signal.id for name, signal in signals.items()}
            self.job_id, self.model_id = job.id, model.id
        self.columns: dict[str, Any] = {name: kept[name].to_numpy() for name in ("block", "latent", *KEPT)}
        self.columns |= {"signal_id": kept["signal"].map(self.ids).to_numpy(), "n": 18_000, "n_rollouts": 300}
        self.coverage = [
            row | {"signal_id": self.ids[row["signal_id"]], "blob": row["blob"].sha256} for row in coverage
        ]

    def analysis(self) -> Analysis:
        return Analysis(
            job_id=self.job_id, task="two_step", model_id=self.model_id, source="sae", sae_name="paper", n=18_000,
            n_rollouts=300, family_size=1, n_permutations=500, alpha=0.05, covariates=[], top=TOP, cutoff=CUTOFF,
        )  # fmt: skip

    def publish(self) -> None:
        """As the rank stage does it."""
        with self.record.session() as session:
            analysis = self.analysis()
            insert_analysis(session, analysis, self.columns)
            insert_rows(session, Coverage, [row | {"analysis_id": analysis.id} for row in self.coverage])

    def publish_others(self, n: int) -> None:
        """Small analyses of a revision that isn't current."""
        columns = {
            name: values if np.ndim(values) == 0 else np.asarray(values)[:1000] for name, values in self.columns.items()
        }
        with self.record.session() as session:
            job = Job(stage="rank", key="old", identity="old", config={})
            session.add(job)
            session.flush()
            for _ in range(n):
                analysis = self.analysis()
                analysis.job_id = job.id
                insert_analysis(session, analysis, columns)

    def retire(self) -> None:
        """Delete the newest analysis."""
        with self.record.session() as session:
            newest = session.scalars(select(Analysis.id).order_by(Analysis.id.desc())).first()
            session.execute(delete(Analysis).where(Analysis.id == newest))


def copied(study: Study) -> tuple[list[str], bytes]:
    """Names of the columns, and the bytes that COPY is sent, of an analysis with the number 0."""
    columns = {"analysis_id": 0} | study.columns
    wide = {"analysis_id": np.int64, "signal_id": np.int64}
    numbers = []
    for name, values in columns.items():
        given = np.atleast_1d(values)
        numbers.append(Numbers(given if given.dtype.kind == "f" else given.astype(wide.get(name, np.int32))))
    return list(columns), b"".join(encode(numbers, len(study.columns["r"])))


def ours(study: Study) -> float:
    """Seconds that insert_columns takes for a table without indexes."""
    with study.record.session() as session:
        session.connection().exec_driver_sql("CREATE TABLE bare (LIKE latent_correlation)")
        took = seconds(
            lambda: insert_columns(session, LatentCorrelation, {"analysis_id": 0} | study.columns, into="bare")
        )
        session.connection().exec_driver_sql("DROP TABLE bare")
    return took


def raw(connection: psycopg.Connection[Any], names: list[str], data: bytes) -> float:
    """Seconds that COPY takes for the same."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (LIKE latent_correlation)")
        took = seconds(lambda: _copy(cursor, "bare", names, data))
        cursor.execute("DROP TABLE bare")
    connection.commit()
    return took


def raw_whole(connection: psycopg.Connection[Any], names: list[str], data: bytes) -> float:
    """Seconds from COPY to commit with everything that an analysis consists of; it is gone afterwards."""

    def publish() -> None:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE latent_correlation_0 (LIKE latent_correlation)")
            _copy(cursor, "latent_correlation_0", names, data)
            cursor.execute(
                "ALTER TABLE latent_correlation_0 ADD PRIMARY KEY (analysis_id, signal_id, block, latent),"
                " ADD CONSTRAINT own CHECK (analysis_id = 0)"
            )
            cursor.execute("CREATE INDEX ON latent_correlation_0 (block, r)")
            for table in (Analysis.__table__, Coverage.__table__):
                first, *others = (column.name for column in table.columns)
                insert = "INSERT INTO {0} SELECT 0, {1} FROM {0} WHERE {2} = (SELECT max(id) FROM analysis)"
                cursor.execute(insert.format(table.name, ", ".join(others), first).encode())
            cursor.execute("ALTER TABLE latent_correlation ATTACH PARTITION latent_correlation_0 FOR VALUES IN (0)")
            cursor.execute("ALTER TABLE latent_correlation_0 DROP CONSTRAINT own")
        connection.commit()

    took = seconds(publish)
    connection.execute("DELETE FROM analysis WHERE id = 0")
    connection.commit()
    return took


def _copy(cursor: psycopg.Cursor[Any], table: str, names: list[str], data: bytes) -> None:
    with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.write(data)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(study: Study, rounds: int) -> bool:
    """Print the figures of one database; whether all are within their limits."""
    record, n = study.record, len(study.columns["r"])
    postgresql = record.engine.dialect.name == "postgresql"
    print(f"\n{record.engine.dialect.name}: {n:,} correlations in SQL")
    study.publish_others(40)
    fine = True
    published, retired = [], []
    if postgresql:
        names, data = copied(study)
        address = record.settings.url.set(drivername="postgresql").render_as_string(hide_password=False)
        alone, bare, whole = [], [], []
        with psycopg.connect(address) as connection:
            for _ in range(rounds + 1):
                alone.append(ours(study))
                bare.append(raw(connection, names, data))
                published.append(seconds(study.publish))
                whole.append(raw_whole(connection, names, data))
                retired.append(seconds(study.retire))
        copying = statistics.median(bare[1:]) / statistics.median(alone[1:])
        everything = statistics.median(whole[1:]) / statistics.median(published[1:])
        print(f"  copying: raw {_median(bare)}, ours {_median(alone)}: {copying:.2f} of the raw rate (limit 0.80)")
        print(f"  publishing: raw {_median(whole)}, ours {_median(published)}: {everything:.2f} of the raw rate")
        fine &= copying >= 0.8
    else:
        for _ in range(rounds + 1):
            published.append(seconds(study.publish))
            retired.append(seconds(study.retire))
        print(f"  publishing: {_median(published)}")
    print(f"  retiring: {_median(retired)}" + (" (limit 0.100 s)" if postgresql else ""))
    fine &= not postgresql or statistics.median(retired[1:]) <= 0.1

    study.publish()
    with closing(record.engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        cold = seconds(lambda: cursor.execute(QUERY).fetchall())
        warm = [seconds(lambda: cursor.execute(QUERY).fetchall()) for _ in range(50)]
        found = len(cursor.execute(QUERY).fetchall())
    print(
        f"  the query: {found} rows, first {1e3 * cold:.1f} ms, then {1e3 * statistics.median(warm):.1f} ms (limit 5)"
    )
    whole_query = seconds(lambda: record.query(QUERY))
    print(f"  the same by Record.query, with its connection: {1e3 * whole_query:.1f} ms")
    return bool(fine and found > 0 and statistics.median(warm) <= 5e-3)


def _median(values: list[float]) -> str:
    return f"{statistics.median(values[1:]):.3f} s"  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    for name, default in (("blocks", 80), ("latents", 65_536), ("signals", 20), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    signals = ["td_error", *(f"signal {number}" for number in range(1, given.signals))]
    rng = np.random.default_rng(0)
    fine = True
    with tempfile.TemporaryDirectory() as folder, temporary_database(durable=True) as address:
        home = Path(folder)
        records = [Record.open(settings) for settings in (Settings(home, address), sqlite_settings(home))]
        kept, coverage, written, took = [], [], 0, 0.0
        for block in track(range(1, given.blocks + 1), "Full matrices"):
            table = matrix(rng, block, signals, given.latents)
            start = time.perf_counter()
            blob = records[0].blobs.put_table(table, group=given.latents)
            took += time.perf_counter() - start
            written += blob.bytes
            for signal in signals:
                part, bound = strongest(table[table["signal"] == signal], TOP, CUTOFF)
                kept.append(part)
                sizes = {"n_latents": given.latents, "n_live": given.latents, "n_kept": len(part)}
                about = {"block": block, "signal_id": signal, "blob": blob, "min_abs_r_kept": bound}
                coverage.append(about | sizes | {"r_threshold": 0.3})
        n = given.blocks * given.latents * given.signals
        print(f"{n:,} estimates: {written / 1e9:.2f} GB of parquet ({written / n:.0f} bytes each) in {took:.0f} s")
        for record in records:
            fine &= measure(Study(record, pd.concat(kept), coverage), given.rounds)
            record.close()
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
