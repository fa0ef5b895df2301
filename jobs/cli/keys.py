"""``tdlens run --keys``: every setting of a study, from the definitions that check it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.text import Text

from jobs.cli.console import output

QUICK = ("quick.KEY", "", "What --quick sets another key to: smaller numbers, for a first look.")


def show_keys(wanted: bool) -> None:
    """Print them and stop."""
    if wanted:
        from jobs.study import Study

        console = output()
        for key, default, meaning in (*_keys(Study, ""), QUICK):
            console.print(Text(key, "bold").append(f" = {default}" if default else "", "default"))
            console.print(Text(f"    {meaning}"))
        raise typer.Exit


def _keys(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        inner, repeated = _section(field.annotation)
        if inner is not None:
            yield from _keys(inner, f"{prefix}{name}.{'NAME.' if repeated else ''}")
        else:
            yield f"{prefix}{name}", _default(field), " ".join((field.description or "").replace("``", "").split())


def _section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The section that a setting is, if it is one, and whether there may be several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    inner = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    return (inner[0], True) if inner else (None, False)


def _default(field: FieldInfo) -> str:
    if field.default_factory is dict:
        return "{}"
    return "" if field.is_required() or field.default_factory else json.dumps(field.default)
