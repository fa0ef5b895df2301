"""Databases that tdlens doesn't work with: no schema, an older one, a newer one, another program's."""

import pytest

from tdlens.errors import SchemaMismatch, UserError
from tdlens.record import Record
from tdlens.record.migrate import check, upgrade
from tdlens.settings import Settings
from tdlens.testing.backend import Backend
from tdlens.testing.catalog import execute, names


class RefusalTests(Backend):
    """Each is refused with its remedy, and left as it was."""

    def test_check_of_an_empty_database(self, settings: Settings) -> None:
        if settings.sqlite_path:
            settings.sqlite_path.parent.mkdir()
            settings.sqlite_path.touch()
        with pytest.raises(SchemaMismatch, match="tdlens db upgrade"):
            check(settings)

    def test_newer_schema(self, settings: Settings) -> None:
        upgrade(settings)
        execute(settings, "UPDATE tdlens_version SET version_num = '9999'")
        for action in (check, upgrade, Record.open):
            with pytest.raises(SchemaMismatch, match="newer version") as caught:
                action(settings)
            assert "Update tdlens" in caught.value.remedy

    def test_older_schema(self, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("alembic.script.ScriptDirectory.get_current_head", lambda _: "9999")
        for action in (check, Record.open):
            with pytest.raises(SchemaMismatch, match=r"has schema \d+, and tdlens .* needs 9999") as caught:
                action(record.settings)
            assert "tdlens db upgrade" in caught.value.remedy

    def test_another_programs_database(self, settings: Settings) -> None:
        if settings.sqlite_path:
            settings.sqlite_path.parent.mkdir()
        execute(settings, "CREATE TABLE alembic_version (version_num TEXT)")
        with pytest.raises(UserError, match="another program's database"):
            Record.open(settings)
        assert names(settings) == {"alembic_version"}
