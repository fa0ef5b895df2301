"""A whole study on two ranks: the rows of the engine hf, also when a rank is killed on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import func, select

from jobs.inference.base import Forward
from jobs.inference.ranks.engine import RankedEngine
from jobs.inference.ranks.group import RanksFailed
from tdlens.record import ActivationShard, Job, Record, Rollout
from tdlens.record.query import query
from tests.jobs.small_study import WHOLE, fresh_record, run, study

KILLED_AT = 9
"""Forward passes before a rank is killed: amid the first variant."""
QUERIES = {
    "steps": "SELECT variant, policy, intervention, rollout_index, step, action, reward, p_chosen FROM v_step",
    "signals": "SELECT variant, signal, intervention, count(*) AS n, sum(value) AS total FROM v_learning_signal "
    "GROUP BY 1, 2, 3",
    "correlations": "SELECT source, sae, block, signal, max(r) AS r FROM v_correlation GROUP BY 1, 2, 3, 4",
    "effects": "SELECT intervention, metric, effect_block, value FROM v_intervention_effect",
}


def test_a_study_on_ranks_gives_the_rows_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = study(tmp_path, WHOLE)
    ranked = ranked.model_copy(
        update={
            "model": ranked.model.model_validate(
                ranked.model.model_dump() | {"engine": "deepspeed", "parallel": {"ranks": 2, "launcher": "torchrun"}}
            )
        }
    )
    with fresh_record("sqlite", tmp_path / "hf") as record:
        run(study(tmp_path, WHOLE), record)
        wanted = {name: rows(record, sql) for name, sql in QUERIES.items()}
    with fresh_record("sqlite", tmp_path / "ranks") as record:
        kill_a_rank(monkeypatch)
        with pytest.raises(RanksFailed, match="Rank 1 of 2 died of signal 9"):
            run(ranked, record)
        # nothing of the unit is there, and anybody may compute it
        with record.session(read_only=True) as session:
            assert session.scalars(select(Job.state).where(Job.stage == "play").order_by(Job.id)).all() == [
                "lost",
                "pending",
            ]
            assert session.scalar(select(func.count()).where(Rollout.policy == "model")) == 0
            assert session.scalar(select(func.count()).select_from(ActivationShard)) == 0
        monkeypatch.undo()
        run(ranked, record)
        found = {name: rows(record, sql) for name, sql in QUERIES.items()}
        with record.session(read_only=True) as session:
            places = session.scalars(select(Job.device).where(Job.stage == "play")).all()
    assert {str(place).partition(":")[0] for place in places} == {"2 x cpu, deepspeed tensor"}
    for name, table in wanted.items():
        assert len(table) > 10
        pd.testing.assert_frame_equal(found[name], table, atol=2e-3, rtol=1e-3)


def rows(record: Record, sql: str) -> pd.DataFrame:
    table = query(record.settings, sql)
    keys = [column for column in table if not pd.api.types.is_float_dtype(table[column])]
    return table.sort_values(keys, ignore_index=True)


def kill_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill rank 1 before a certain forward pass."""
    passes: list[None] = []
    forward = RankedEngine.forward

    def counted(engine: RankedEngine, *arguments: Any, **options: Any) -> Forward:
        passes.append(None)
        if len(passes) == KILLED_AT and engine._group is not None:
            os.kill(engine._group.pids[1], signal.SIGKILL)
        return forward(engine, *arguments, **options)

    monkeypatch.setattr(RankedEngine, "forward", counted)
