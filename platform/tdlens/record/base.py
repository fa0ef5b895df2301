"""What all tables share: naming, column types, the declarative base."""

from datetime import UTC, datetime
from typing import Annotated, Any, dataclass_transform

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, Integer, MetaData, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass, mapped_column

BigInt = Annotated[int, mapped_column(BigInteger().with_variant(Integer(), "sqlite"))]
"""A key or a seed. SQLite's own row number is 64 bits wide only under the name INTEGER."""

# Plain JSON, not PostgreSQL's JSONB: it keeps the text as it was written, so that its hash stays true.
Json = Annotated[dict[str, Any], mapped_column(JSON())]
JsonList = Annotated[list[Any], mapped_column(JSON())]


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always with its time zone in Python and always UTC in the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment needs its time zone: datetime.now(UTC)")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        # SQLite has no time zones: what we wrote there is UTC.
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


@dataclass_transform(kw_only_default=True, field_specifiers=(mapped_column,))
class Base(MappedAsDataclass, DeclarativeBase, kw_only=True, eq=False):
    """Base of all tables. Rows are made by keyword, and mypy knows the keywords.

    Deleting: what a job made goes with the job (ON DELETE CASCADE); what another job refers to can't go.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        float: Double(),
        datetime: UtcDateTime(),
    }
