"""The storage tests on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tdlens.record import Record
from tdlens.settings import Settings
from tdlens.testing import StorageTests
from tests.databases import emptied, empty_sqlite, require_postgres, sqlite_settings, temporary_database


class TestSqlite(StorageTests):
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return sqlite_settings(tmp_path / "home")

    @pytest.fixture
    def record(self, tmp_path: Path) -> Iterator[Record]:
        opened = Record.open(empty_sqlite(tmp_path / "home"))
        yield opened
        opened.close()


class TestPostgresql(StorageTests):
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Iterator[Settings]:
        require_postgres()
        with temporary_database() as address:
            yield Settings(tmp_path / "home", address)

    @pytest.fixture
    def record(self, tmp_path: Path, migrated_postgres: str) -> Iterator[Record]:
        with emptied(Settings(tmp_path / "home", migrated_postgres)) as opened:
            yield opened
