"""The tests that every database must pass to hold a record, as one class. Needs the extra: tdlens[testing].

A database's own test module subclasses it with one fixture, `settings`: an empty database, of each test's own, and a
folder that isn't there yet.

    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from tdlens.settings import Settings
    from tdlens.testing import StorageTests

    class TestManagedPostgresql(StorageTests):
        @pytest.fixture
        def settings(self, tmp_path: Path) -> Iterator[Settings]:
            with temporary_database() as url:  # CREATE DATABASE …; DROP DATABASE …
                yield Settings(tmp_path / "home", url)

pytest then runs some hundred tests: the schema and its migrations, transactions, bulk inserts, what users' SQL may do,
the ledger with many workers, blobs and their maintenance, backup and restore. Most of them only need a record without
rows, and where making a database is slow, a second fixture makes these quick: override `record`, and let it empty a
database that the tests share.

`tdlens.testing.rows` fills a record with a row in every table, for tests of one's own.
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from tdlens.testing.backups import BackupTests  # noqa: E402 - what is imported before isn't rewritten
from tdlens.testing.blobs import BlobTests  # noqa: E402
from tdlens.testing.bulk import BulkInsertTests  # noqa: E402
from tdlens.testing.concurrency import ConcurrencyTests  # noqa: E402
from tdlens.testing.ledger import LedgerTests  # noqa: E402
from tdlens.testing.ledger_machine import LedgerMachineTests  # noqa: E402
from tdlens.testing.publishing import PublishingTests  # noqa: E402
from tdlens.testing.queries import QueryTests  # noqa: E402
from tdlens.testing.refusals import RefusalTests  # noqa: E402
from tdlens.testing.schema import SchemaTests  # noqa: E402
from tdlens.testing.sessions import SessionTests  # noqa: E402

__all__ = ["StorageTests"]


class StorageTests(
    SchemaTests,
    RefusalTests,
    SessionTests,
    BulkInsertTests,
    QueryTests,
    LedgerTests,
    PublishingTests,
    LedgerMachineTests,
    ConcurrencyTests,
    BlobTests,
    BackupTests,
):
    """All tests of a database; subclass it with a fixture `settings`, as the module's description shows."""
