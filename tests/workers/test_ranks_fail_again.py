"""A unit whose ranks fail is tried again a few times by the same worker, and then failed for good."""

from __future__ import annotations

import pytest

from jobs.inference.ranks.group import RanksFailed
from jobs.stage import Unit
from jobs.worker.loop import RETRIES
from tdlens.record import Record
from tests.workers.workbench import Bench, bench, job, results

GONE = RanksFailed("Rank 1 of 2 died of signal 9 (SIGKILL).", "What the ranks printed is in /there.")


def failing(record: Record, times: int) -> Bench:
    """A worker whose ranks die so many times before they compute its unit."""
    here, left = bench(record), [GONE] * times

    def forward(unit: Unit) -> None:
        if left:
            raise left.pop()

    here.stage.before = forward
    return here


def test_a_unit_that_ends_its_ranks_again_and_again_is_failed(record: Record) -> None:
    here = failing(record, 99)
    states = []
    for _ in range(RETRIES + 1):
        assert not here.step()
        states.append(job(record).state)
    assert states == here.watch.outcomes == ["lost", "lost", "failed"]
    assert here.watch.errors == [GONE] * 3
    after = job(record)
    assert after.error is not None and after.error.startswith(GONE.message)
    assert not here.step(), "nobody claims a failed unit"
    assert here.watch.outcomes == ["lost", "lost", "failed"]
    assert here.stage.inserted == []


def test_ranks_that_do_better_publish_the_unit(record: Record) -> None:
    here = failing(record, RETRIES)
    assert [here.step() for _ in range(RETRIES + 1)] == [False, False, True]
    assert here.watch.outcomes == ["lost", "lost", "published"]
    assert job(record).state == "done"
    assert results(record) == [("0", "result", b"result of 0")]


def test_where_the_first_error_ends_the_run_the_unit_goes_back_in_line(record: Record) -> None:
    here = failing(record, 1)
    with pytest.raises(RanksFailed, match="Rank 1 of 2 died"):
        here.step(stop_on_error=True)
    assert here.watch.outcomes == [job(record).state] == ["lost"]
    assert here.step(stop_on_error=True)
    assert job(record).state == "done"
