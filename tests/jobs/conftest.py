from tests.databases import migrated_postgres, record

__all__ = ["migrated_postgres", "record"]
