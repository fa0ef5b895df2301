"""What the tests of a database are given: the database's settings, a record in it."""

from collections.abc import Iterator

import pytest

from tdlens.record import Record
from tdlens.settings import Settings
from tdlens.testing.rows import fill


class Backend:
    """Fixtures of all the tests; a database's class overrides `settings`, and `record` where it can be had quicker."""

    @pytest.fixture
    def settings(self) -> Settings:
        """An empty database of the test's own, and a home that isn't there yet."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `settings`; see tdlens.testing")

    @pytest.fixture
    def record(self, settings: Settings) -> Iterator[Record]:
        """An open record without rows. A test that changes the schema itself takes `settings` instead."""
        opened = Record.open(settings)
        yield opened
        opened.close()

    @pytest.fixture
    def filled(self, record: Record) -> Record:
        """A record with a row in every table."""
        with record.session() as session:
            fill(session)
        return record
