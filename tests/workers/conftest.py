from tests.databases import migrated_postgres, record, settings

__all__ = ["migrated_postgres", "record", "settings"]
