"""Correlations on PostgreSQL: every analysis has its partition, which comes and goes with it."""

import threading
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, inspect, select

from tdlens.record import (
    Analysis,
    Job,
    LatentCorrelation,
    Model,
    Record,
    Signal,
    find_or_create,
    insert_analysis,
    new_ids,
)
from tdlens.record.partitions import PARTITION, lock_for_deletion
from tdlens.testing.rows import make_job

pytestmark = pytest.mark.parametrize("record", ["postgresql"], indirect=True)
SIGNALS, BLOCKS, LATENTS = 3, 2, 50


@pytest.fixture
def partitioned(record: Record) -> Record:
    """A record on PostgreSQL with signals and a model."""
    with record.session() as session:
        for number in range(SIGNALS):
            find_or_create(
                session, Signal, {"name": f"s{number}", "parameters_hash": ""}, agent="q", parameters={}, description=""
            )
        session.add(
            Model(
                name="m", source="", fingerprint="f", architecture="llama", n_blocks=2, d_model=4, n_parameters=1,
                dtype="float32",
            )
        )  # fmt: skip
    return record


def correlations(record: Record, seed: int = 0) -> dict[str, Any]:
    """Columns of every latent, block and signal; some intervals are missing."""
    with record.session(read_only=True) as session:
        signals = session.scalars(select(Signal.id).order_by(Signal.id)).all()
    rng = np.random.default_rng(seed)
    grid = np.array(np.meshgrid(signals, np.arange(1, BLOCKS + 1), np.arange(LATENTS))).reshape(3, -1)
    r = rng.uniform(-1, 1, grid.shape[1])
    low = np.where(rng.random(len(r)) < 0.3, np.nan, r - 0.1)
    return {"signal_id": grid[0], "block": grid[1], "latent": grid[2], "r": r, "ci_low": low, "n": 9, "n_rollouts": 3}


def analysis(job_id: int, model_id: int) -> Analysis:
    return Analysis(
        job_id=job_id, task="two_step", model_id=model_id, source="sae", n=9, n_rollouts=3, family_size=300,
        n_permutations=19, alpha=0.05, covariates=[],
    )  # fmt: skip


def publish(record: Record, identity: str, seed: int = 0) -> int:
    columns = correlations(record, seed)
    with record.session() as session:
        job = make_job(session, identity)
        model = session.scalars(select(Model)).one()
        made = analysis(job.id, model.id)
        insert_analysis(session, made, columns)
        return made.id


def partitions(record: Record) -> set[str]:
    return set(filter(PARTITION.fullmatch, inspect(record.engine).get_table_names()))


def rows(record: Record, analysis_id: int) -> list[tuple[Any, ...]]:
    here = LatentCorrelation
    columns = (here.signal_id, here.block, here.latent, here.r, here.ci_low, here.sae_id)
    with record.session(read_only=True) as session:
        query = select(*columns).where(here.analysis_id == analysis_id).order_by(*columns[:3])
        return [tuple(row) for row in session.execute(query)]


def test_each_analysis_has_its_partition(partitioned: Record) -> None:
    first, second = publish(partitioned, "a", 1), publish(partitioned, "b", 2)
    assert partitions(partitioned) == {f"latent_correlation_{first}", f"latent_correlation_{second}"}
    expected = correlations(partitioned, 2)
    low = [None if np.isnan(value) else value for value in expected["ci_low"]]
    grid = zip(expected["signal_id"], expected["block"], expected["latent"], expected["r"], low, strict=True)
    assert rows(partitioned, second) == sorted((*row, None) for row in grid)
    assert rows(partitioned, first) != rows(partitioned, second)


def test_a_partition_has_the_keys_and_constraints_of_the_whole(partitioned: Record) -> None:
    name = f"latent_correlation_{publish(partitioned, 'a')}"
    inspector = inspect(partitioned.engine)
    assert inspector.get_pk_constraint(name)["constrained_columns"] == ["analysis_id", "signal_id", "block", "latent"]
    assert {tuple(key["constrained_columns"]) for key in inspector.get_foreign_keys(name)} == {
        ("analysis_id",), ("signal_id",), ("sae_id",),
    }  # fmt: skip
    assert [index["column_names"] for index in inspector.get_indexes(name)] == [["block", "r"]]
    assert inspector.get_check_constraints(name) == []


def test_a_deleted_job_takes_its_partition_along_and_no_other(partitioned: Record) -> None:
    first, second = publish(partitioned, "a"), publish(partitioned, "b")
    with partitioned.session() as session:
        session.execute(delete(Job).where(Job.identity == "a"))
    assert partitions(partitioned) == {f"latent_correlation_{second}"}
    assert rows(partitioned, first) == [] and len(rows(partitioned, second)) == SIGNALS * BLOCKS * LATENTS


def test_what_is_rolled_back_leaves_no_table(partitioned: Record) -> None:
    kept = publish(partitioned, "kept")
    columns = correlations(partitioned)
    for wrong in ({}, {"sae_id": 10**6}):
        with pytest.raises(Exception, match=r"stop|foreign key"), partitioned.session() as session:
            job = make_job(session, "a")
            made = analysis(job.id, session.scalars(select(Model)).one().id)
            insert_analysis(session, made, columns | wrong)
            raise RuntimeError("stop")
        assert partitions(partitioned) == {f"latent_correlation_{kept}"}
    assert publish(partitioned, "a") > kept


def test_publishers_at_once_do_not_deadlock(partitioned: Record) -> None:
    """Each writes other tables first, as units do; beside them somebody makes signals, and gc forgets analyses."""
    errors: list[BaseException] = []
    for turn in range(3):
        publish(partitioned, f"old {turn}")
    start = threading.Barrier(6)

    def work(number: int) -> None:
        try:
            start.wait(30)
            for turn in range(3):
                if number < 4:
                    publish(partitioned, f"{number} {turn}", number)
                    continue
                if number == 5:
                    with partitioned.session() as session:
                        lock_for_deletion(session)
                        session.execute(delete(Job).where(Job.identity == f"old {turn}"))
                    continue
                with partitioned.session() as session:
                    key = {"name": f"new {turn}", "parameters_hash": ""}
                    find_or_create(session, Signal, key, agent="q", parameters={}, description="")
                    new_ids(session, Analysis, 1)
                    make_job(session, f"signals {turn}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(partitions(partitioned)) == 12
