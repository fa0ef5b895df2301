"""The same study, record and commands on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tdlens.record import Record
from tdlens.settings import Settings
from tests.cli.conftest import Invoke
from tests.databases import require_postgres, temporary_database
from tests.tiny_study import Workplace, dump


@pytest.fixture
def address() -> Iterator[str]:
    require_postgres()
    with temporary_database() as address:
        yield address


def test_the_study_on_postgresql_and_its_repair(
    fresh: Workplace, done: Workplace, invoke: Invoke, address: str
) -> None:
    there = {"TDLENS_DATABASE_URL": address}
    ran = invoke(fresh, "run", "tiny.toml", "--no-report", **there)
    assert ran.exit_code == 0 and "Warning" not in ran.stderr, ran.stderr
    ours, theirs = Record.open(Settings(fresh.home, address)), done.record()
    found, expected = dump(ours), dump(theirs)
    assert found.keys() == expected.keys()
    for view, rows in expected.items():
        assert len(found[view]) == len(rows), view
    # PostgreSQL sums in another order: its last digit may differ, nothing else
    assert found["v_episode"] == expected["v_episode"] and found["v_step"] == expected["v_step"]
    assert found["v_latent_correlation"] == expected["v_latent_correlation"]
    assert "0 units computed" in invoke(fresh, "run", "tiny.toml", "--no-report", "--no-mlflow", **there).stderr
    assert "tiny: 0 runs written" in invoke(fresh, "sync-mlflow", **there).stderr
    for command in (("status",), ("show", "latents", "--signal", "td_error")):
        here = invoke(done, *command).stdout.replace(" ", "").splitlines()
        assert invoke(fresh, *command, **there).stdout.replace(" ", "").splitlines()[1:] == here[1:]
    doctor = invoke(fresh, "doctor", "--full", **there)
    assert doctor.exit_code == 0 and "0 left by processes that are gone" in doctor.stdout
    assert invoke(fresh, "fsck", "--full", **there).stderr.partition(" blobs of ")[0].strip().isdigit()

    blob = ours.query("SELECT blob, suffix FROM v_activation_shard ORDER BY block, capture LIMIT 1").iloc[0]
    ours.blobs.path(blob.blob, blob.suffix).unlink()
    assert invoke(fresh, "doctor", **there).exit_code == 1
    assert invoke(fresh, "doctor", "--repair", **there).exit_code == 0
    run = ("run", "tiny.toml", "--no-report", "--no-mlflow")
    assert invoke(fresh, *run, **there).exit_code == 0
    assert dump(ours)["v_latent_correlation"] == expected["v_latent_correlation"]

    with ours.session() as session:
        session.execute(text("UPDATE tdlens_version SET version_num = '9999'"))
    assert invoke(fresh, *run, **there).exit_code == 2
    ours.close()
    theirs.close()
