"""Records that the code of each earlier revision wrote (tests/record/old_databases): upgraded, and used."""

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import inspect, text
from typer.testing import CliRunner

from jobs.cli import app
from jobs.pipeline import plan_study
from jobs.study import load
from jobs.worker.inline import run_study
from tdlens.errors import SchemaMismatch
from tdlens.fsck import check_blobs
from tdlens.record import Record
from tdlens.record.engine import make_engine
from tdlens.record.migrate import check, drift, revisions, upgrade
from tdlens.record.partitions import PARTITION
from tdlens.record.views import VIEWS
from tdlens.settings import Settings
from tdlens.testing.catalog import describe, execute, execute_script
from tdlens.testing.schema import by_script
from tests.databases import sqlite_settings
from tests.jobs.small_study import context_of

ARCHIVES = Path(__file__).parent / "old_databases"
EARLIER = revisions()[:-1]
STUDIES = ("first", "second", "third")
LATER = {
    *("v_submission", "v_worker", "v_intervention_latent", "v_block_measure", "v_map_point", "v_published_point"),
    *("v_model_metric", "v_latent_measure", "v_latent_predicate", "v_latent_example"),
    *("v_head_score", "v_head_measure", "v_head_label", "v_head_pair", "v_circuit_search"),
    *("v_search_progress", "v_search_episode", "v_search_step", "v_planted_circuit"),
    *("v_maze_training", "v_maze_progress", "v_maze_checkpoint", "v_concept_vector", "v_concept_cosine"),
    *("v_concept_token", "v_emotion_cosine", "v_emotion_component", "v_goal_tracking", "v_steering_effect"),
    *("v_steered_text", "v_steering_contrast", "v_concept_latent", "v_concept_signal", "v_planted_axis"),
}
"""Views of what no earlier revision recorded."""
Rows = dict[str, set[str]]


@dataclass(frozen=True)
class Old:
    """A record as an earlier revision left it, with the studies and the model beside it."""

    revision: str
    folder: Path
    settings: Settings


@pytest.fixture(params=EARLIER)
def old(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Old:
    with tarfile.open(ARCHIVES / f"{request.param}.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    settings.home.mkdir()
    (tmp_path / "blobs").rename(settings.blobs)
    if settings.sqlite_path is not None:
        (tmp_path / "tdlens.db").rename(settings.sqlite_path)
    else:
        execute_script(settings, (tmp_path / "postgresql.sql").read_text())
    monkeypatch.chdir(tmp_path)  # the studies name the model's folder there
    for name, value in settings.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Old(request.param, tmp_path, settings)


def rows(settings: Settings, columns: dict[str, list[str]] | None = None) -> tuple[dict[str, list[str]], Rows]:
    """The columns of each table, or those asked for, and its rows."""
    engine = make_engine(settings)
    with engine.connect() as connection:
        inspector = inspect(connection)
        if columns is None:
            tables = [table for table in inspector.get_table_names() if not PARTITION.fullmatch(table)]
            columns = {table: [column["name"] for column in inspector.get_columns(table)] for table in tables}
            del columns["tdlens_version"]
        found = {}
        for table, names in columns.items():
            quoted = ", ".join(f'"{name}"' for name in names)
            found[table] = {repr(tuple(row)) for row in connection.execute(text(f"SELECT {quoted} FROM {table}"))}  # noqa: S608
    engine.dispose()
    return columns, found


def _plain(sql: str) -> str:
    """PostgreSQL writes down the casts of a CHECK anew each time that it reads a dump."""
    return re.sub(r"::(character varying|text)(\[\])?|[()]", "", sql) if sql.startswith("CHECK") else sql


def test_there_is_one_of_each_earlier_revision() -> None:
    """Before a migration is added: python tests/record/old_databases/make.py"""
    assert sorted(path.name for path in ARCHIVES.glob("*.tar.xz")) == [f"{name}.tar.xz" for name in EARLIER]


def test_it_is_refused_until_it_is_upgraded(old: Old) -> None:
    with pytest.raises(SchemaMismatch, match=f"has schema {old.revision}") as caught:
        Record.open(old.settings)
    assert "tdlens db upgrade" in caught.value.remedy


@pytest.mark.parametrize("by", ["tdlens", "script"])
def test_an_upgrade_keeps_every_row_and_makes_the_schema_of_a_new_record(
    old: Old, by: str, request: pytest.FixtureRequest
) -> None:
    columns, before = rows(old.settings)
    assert all(before[table] for table in ("job", "step", "latent_correlation", "coverage", "intervention_effect"))
    if by == "tdlens":
        upgrade(old.settings)
    else:
        by_script(old.settings, old.revision, "head")
    check(old.settings)
    _, after = rows(old.settings, columns)
    states = before.pop("job"), after.pop("job")
    assert after == before
    assert len(states[1]) == len(states[0])
    assert sum("done" in row for row in states[0] & states[1]) >= 15, "what was done stays as it was"

    assert drift(old.settings) == []
    if old.settings.sqlite_path is not None:
        new = sqlite_settings(old.folder / "new")
        upgrade(new)
    else:
        new = Settings(old.folder / "new", request.getfixturevalue("migrated_postgres"))
    upgraded, made = (
        {name: _plain(sql) for name, sql in describe(one).items() if not PARTITION.search(name)}
        for one in (old.settings, new)
    )
    assert upgraded == made


def test_an_upgraded_record_is_used(old: Old) -> None:
    upgrade(old.settings)
    columns, before = rows(old.settings)
    record = Record.open(old.settings)
    for view in VIEWS:
        shown = record.query(f"SELECT * FROM {view}")  # noqa: S608
        assert tuple(shown.columns) == VIEWS[view]
        assert len(shown) > 0 or view in LATER, view
    assert [finding for finding in check_blobs(record, full=True) if finding.damage] == []
    doctor = CliRunner().invoke(app, ["doctor", "--full"])
    assert doctor.exit_code == 0, doctor.output
    states = set(record.query("SELECT state FROM job WHERE stage = 'intervene'").state)
    assert states >= {"done", "failed", "lost"} and "running" not in states

    # whose worker is long gone, whatever this machine's clock says
    execute(old.settings, "UPDATE job SET lease_until = '2000-01-01 00:00:00.000000' WHERE state = 'leased'")
    by_old_code = set(record.query("SELECT identity FROM job WHERE state = 'done'").identity)
    for name in STUDIES:
        study = load(old.folder / f"{name}.toml")
        planned = {unit.identity for unit in plan_study(context_of(study, record)).units}
        done = planned & set(record.query("SELECT identity FROM job WHERE state = 'done'").identity)
        outcome = run_study(study, record, Console(quiet=True))
        assert (outcome.computed, outcome.found) == (len(planned) - len(done), len(done)), name
        assert outcome.computed >= 1
        assert len(planned & by_old_code) >= 8, "what the old code computed is still what the new one asks for"
        assert run_study(study, record, Console(quiet=True)).computed == 0

    assert set(record.query("SELECT * FROM v_job").state) == {"done"}
    shown = record.query("SELECT intervention FROM v_intervention_effect")
    assert set(shown.intervention) == {"finished", "killed", "not_begun", "failed", "killed_too"}
    _, after = rows(old.settings, columns)
    for table in columns.keys() - {"job", "study", "study_job"}:
        assert before[table] <= after[table], table
    record.close()
