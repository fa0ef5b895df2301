"""Two runs that reach the same unit at once: one computes it, the other is told so. On both databases."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

import jobs.pipeline as pipeline
from jobs.stage import Unit
from tdlens.errors import UserError
from tdlens.record import Record, current_study


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_runs_one_claims_a_new_unit(record: Record, monkeypatch: pytest.MonkeyPatch, attempt: int) -> None:
    # two threads stand in for two processes, both alive
    monkeypatch.setattr(pipeline, "this_process", lambda: threading.current_thread().name)
    monkeypatch.setattr(pipeline, "alive", lambda owner: True)
    context: Any = SimpleNamespace(
        record=record, engine=SimpleNamespace(device="cpu"), keep=lambda make, *key: make(), job_id=lambda unit: 0
    )
    with record.session() as session:
        study = current_study(session, name="s", title="", config={"attempt": attempt}).id
    unit, barrier, outcomes = Unit("play", "one", {"attempt": attempt}), threading.Barrier(2), []

    def claim() -> None:
        barrier.wait()
        try:
            outcomes.append(pipeline._claim(context, unit, study, False)[1])
        except UserError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=claim, name=f"run-{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 2 and 1 in outcomes
    (refused,) = [outcome for outcome in outcomes if outcome != 1]
    assert "being computed by another run" in str(refused)
