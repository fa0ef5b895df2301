"""What every section of a study is made of: unknown settings refused, names looked up with a hint."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

T = TypeVar("T")


def distinct(entries: tuple[T, ...]) -> tuple[T, ...]:
    repeated = [entry for index, entry in enumerate(entries) if entry in entries[:index]]
    if repeated:
        raise ValueError(f"{repeated[0]!r} occurs twice")
    return entries


Distinct = Annotated[tuple[T, ...], AfterValidator(distinct)]
"""A list whose entries differ from each other."""


class Section(BaseModel):
    """Settings that belong together; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def at_default(section: Section, *settings: str) -> set[str]:
    """Those of a section's settings that have their default."""
    return {key for key in settings if getattr(section, key) == type(section).model_fields[key].default}


def registered(name: str, known: Any, kind: str) -> Any:
    """What is registered under a name, or the name itself in a list; ValueError where it isn't there."""
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}{hint(name, list(known))} (known: {', '.join(known) or 'none'})")
    return known[name] if isinstance(known, dict) else name


def hint(name: str, known: list[str]) -> str:
    """The nearest known name, for the end of a message; empty where none is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
