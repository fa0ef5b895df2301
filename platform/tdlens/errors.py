"""Mistakes and mishaps that a user can put right, each with its remedy."""


class UserError(Exception):
    """Something the user can put right. The command line prints both sentences and exits with code 2."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}"


class Unreachable(UserError):
    """The database can't be opened or doesn't answer."""


class DatabaseBusy(UserError):
    """Another process has held the database's write lock for longer than we wait."""


class DiskFull(UserError):
    """No space is left where the record or its blobs lie."""


class SchemaMismatch(UserError):
    """The database's schema isn't the one this version of tdlens works with."""


class BadQuery(UserError):
    """A user's SQL was refused by the database."""


class CorruptBlob(UserError):
    """A blob's content isn't what its name says."""


class MissingBlob(UserError):
    """The record names a blob whose file isn't there."""


class NoSuchStore(UserError):
    """The place that the blobs' address names isn't there."""


class BlobsUnreachable(UserError):
    """The place of the blobs can't be opened or doesn't answer."""


class BlobVanished(UserError):
    """A blob was collected as an orphan before the rows that name it were there: its unit must be computed again."""
