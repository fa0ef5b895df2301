from tests.databases import migrated_template, record, settings

__all__ = ["migrated_template", "record", "settings"]
