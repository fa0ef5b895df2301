"""The small process that renews the lease of a unit which ``tdlens run`` computes itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import timedelta

import pytest

from jobs.stage import Unit
from jobs.worker.heartbeat import sidecar
from tdlens.record import Record
from tests.workers.fake_process import DEADLINE, until
from tests.workers.workbench import bench, chain, claim_of, job

LEASE = 1.0


def test_a_lease_is_held_until_the_unit_is_let_go(record: Record) -> None:
    held = claim_of(record, bench(record).work.study_id, lease=LEASE)
    first = job(record).lease_until
    assert first is not None
    with sidecar(record.settings, LEASE) as heartbeat:
        heartbeat.hold(held)
        until(lambda: job(record).lease_until > first + timedelta(seconds=2 * LEASE), "heartbeats")()
        heartbeat.let_go()
        until(bench(record).step, "the end of the lease")()
    assert job(record).attempt == 2


def test_a_unit_that_was_given_away_is_not_taken_back(record: Record) -> None:
    study_id = bench(record, [Unit("bench", "0", {}), Unit("bench", "1", {})]).work.study_id
    late = claim_of(record, study_id, lease=-1.0)
    now = claim_of(record, study_id, owner="another/0:2:2", lease=600.0)
    own = claim_of(record, study_id, lease=600.0)
    until_then, before = job(record).lease_until, job(record, "1").lease_until
    with sidecar(record.settings, LEASE) as heartbeat:
        heartbeat.hold(own)
        until(lambda: job(record, "1").lease_until != before, "its process")()
        heartbeat.hold(late)
        time.sleep(LEASE)
    after = job(record)
    assert (after.owner, after.attempt, after.lease_until) == (now.owner, 2, until_then)


@pytest.mark.parametrize("record", ["sqlite"], indirect=True)
@pytest.mark.parametrize("computing", [True, False])
def test_when_the_computing_process_is_gone_its_unit_is_lost_at_once(record: Record, computing: bool) -> None:
    held = claim_of(record, bench(record, chain(2)).work.study_id, lease=600.0)
    environment = os.environ | record.settings.environment
    command = [sys.executable, "-m", "jobs.worker.heartbeat", "600"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True)
    said = [asdict(held)] if computing else [asdict(held), None]
    process.communicate("".join(json.dumps(line) + "\n" for line in said), timeout=DEADLINE)
    assert process.returncode == 0
    after = job(record)
    assert (after.state, after.error) == (
        ("lost", "the process that computed it is gone") if computing else ("leased", None)
    )
