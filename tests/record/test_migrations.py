"""The schema: made, unmade and checked by migrations alone."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, inspect, select, text

from tdlens.errors import SchemaMismatch, Unreachable, UserError
from tdlens.record import Base, Record, Rollout
from tdlens.record.engine import make_engine
from tdlens.record.migrate import check, current_revision, downgrade, drift, migrations_folder, upgrade
from tdlens.settings import Settings
from tests.databases import sqlite_settings
from tests.record.rows import fill


def names(settings: Settings) -> set[str]:
    engine = make_engine(settings)
    inspector = inspect(engine)
    found = {*inspector.get_table_names(), *inspector.get_view_names()}
    engine.dispose()
    return found


def execute(settings: Settings, statement: str) -> None:
    engine = make_engine(settings)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_down_and_up_again_with_rows_in_every_table(settings: Settings) -> None:
    record = Record.open(settings)
    with record.session() as session:
        fill(session)
        for table in Base.metadata.sorted_tables:
            assert session.execute(select(table)).first() is not None, f"{table.name} was not filled"
    record.close()

    downgrade(settings, "base")
    assert names(settings) == {"tdlens_version"}
    assert current_revision(settings) is None

    upgrade(settings)
    with Record.open(settings).session() as session:
        assert session.scalars(select(Rollout)).all() == []
        fill(session)


def test_models_and_migrations_agree(record: Record) -> None:
    assert drift(record.settings) == []


def test_drift_is_seen(settings: Settings) -> None:
    upgrade(settings)
    execute(settings, "ALTER TABLE rollout ADD COLUMN extra INTEGER")
    assert [difference[0] for difference in drift(settings)] == ["remove_column"]


def constraints(settings: Settings) -> dict[str, list[str]]:
    """Of each table: check constraints, ON DELETE of foreign keys, and whether SQLite numbers its rows."""
    engine = make_engine(settings)
    inspector = inspect(engine)
    found = {
        table: sorted(
            [
                *map(str, inspector.get_check_constraints(table)),
                *(f"{key['name']}: {key['options']}" for key in inspector.get_foreign_keys(table)),
                str(inspector.get_table_options(table)),
            ]
        )
        for table in Base.metadata.tables
    }
    engine.dispose()
    return found


def test_constraints_that_alembic_does_not_compare(settings: Settings) -> None:
    upgrade(settings)
    migrated = constraints(settings)
    downgrade(settings, "base")
    engine = make_engine(settings)
    Base.metadata.create_all(engine)
    engine.dispose()
    assert migrated == constraints(settings)
    assert any("CASCADE" in line for line in migrated["step"])
    assert any("leased" in line for line in migrated["job"])


def _upgrade(settings: Settings, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    upgrade(settings)


def test_migrators_at_once(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [context.Process(target=_upgrade, args=(settings, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 2
    check(settings)
    assert drift(settings) == []


def test_a_failed_migration_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(settings)
    with monkeypatch.context() as patch:
        patch.setattr("tdlens.record.migrate.refuse_newer", lambda *_: None)
        patch.setattr("alembic.operations.Operations.drop_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            downgrade(settings, "base")
    check(settings)
    assert "v_episode" in names(settings)


def test_check_without_a_record_makes_nothing(tmp_path: Path) -> None:
    settings = sqlite_settings(tmp_path / "home")
    with pytest.raises(SchemaMismatch, match="tdlens db upgrade"):
        check(settings)
    assert list(tmp_path.iterdir()) == []


def test_check_of_an_empty_database(settings: Settings) -> None:
    if settings.sqlite_path:
        settings.sqlite_path.parent.mkdir()
        settings.sqlite_path.touch()
    with pytest.raises(SchemaMismatch, match="tdlens db upgrade"):
        check(settings)


def test_newer_schema(settings: Settings) -> None:
    upgrade(settings)
    execute(settings, "UPDATE tdlens_version SET version_num = '9999'")
    for action in (check, upgrade, Record.open):
        with pytest.raises(SchemaMismatch, match="newer version") as caught:
            action(settings)
        assert "Update tdlens" in caught.value.remedy


def test_older_schema(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alembic.script.ScriptDirectory.get_current_head", lambda _: "9999")
    for action in (check, Record.open):
        with pytest.raises(SchemaMismatch, match=r"has schema \d+, and tdlens .* needs 9999") as caught:
            action(record.settings)
        assert "tdlens db upgrade" in caught.value.remedy


def test_another_programs_database(settings: Settings) -> None:
    if settings.sqlite_path:
        settings.sqlite_path.parent.mkdir()
    execute(settings, "CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(UserError, match="another program's database"):
        Record.open(settings)
    assert names(settings) == {"alembic_version"}


def test_unreachable_server(tmp_path: Path) -> None:
    settings = Settings(tmp_path, "postgresql+psycopg://me:secret@127.0.0.1:1/nothing")
    with pytest.raises(Unreachable, match="can't be reached") as caught:
        Record.open(settings)
    assert "TDLENS_DATABASE_URL" in caught.value.remedy
    assert "secret" not in str(caught.value)


def test_unreachable_database_of_a_running_server(record: Record) -> None:
    if record.settings.sqlite_path:
        pytest.skip("PostgreSQL only")
    url = record.settings.url.set(database="tdlens_no_such_database")
    with pytest.raises(Unreachable, match='"tdlens_no_such_database" does not exist'):
        check(replace(record.settings, database_url=url.render_as_string(hide_password=False)))


def test_file_that_is_no_database(tmp_path: Path) -> None:
    settings = sqlite_settings(tmp_path)
    (tmp_path / "tdlens.db").write_text("not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(Unreachable, match="isn't an intact SQLite database"):
        Record.open(settings)


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(Unreachable, match="home"):
        Record.open(sqlite_settings(tmp_path / "home"))


def test_alembic_by_hand_uses_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What developers type: `alembic upgrade head` with alembic.ini."""
    from alembic import command
    from alembic.config import Config

    monkeypatch.setenv("TDLENS_HOME", str(tmp_path))
    monkeypatch.delenv("TDLENS_DATABASE_URL", raising=False)
    command.upgrade(Config(migrations_folder().parent / "alembic.ini"), "head")
    check(sqlite_settings(tmp_path))


def test_naming_convention_reaches_the_database(record: Record) -> None:
    reflected = MetaData()
    reflected.reflect(create_engine(record.settings.url))
    assert reflected.tables["step"].primary_key.name == "pk_step"
    keys = {key.constraint.name for key in reflected.tables["step"].foreign_keys if key.constraint}
    assert keys == {"fk_step_rollout_id_rollout", "fk_step_episode_id_episode"}
