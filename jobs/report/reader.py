"""What a figure may ask: SELECTs on the record's views, remembered so that a page can show them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import cleandoc
from typing import Any

import pandas as pd

from tdlens.errors import UserError
from tdlens.record import Record

Value = str | int | float | Sequence[str | int]

_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


class NotRecorded(Exception):
    """The study's record lacks the rows that a figure needs; says which."""


@dataclass(frozen=True)
class Reader:
    """Asks about one study; every query is bound to it as ``:study``."""

    record: Record
    study: str
    asked: list[str] = field(default_factory=list)
    """The queries so far with their values written out: each runs as it is in ``tdlens sql``."""
    answers: dict[str, pd.DataFrame] = field(default_factory=dict)
    """What was answered: several figures and claims ask the same, and are to hear the same."""

    def ask(self, sql: str, **values: Value) -> pd.DataFrame:
        """Rows of one SELECT; a parameter whose value is a list stands for a parenthesis of several."""
        sql, values = cleandoc(sql), {"study": self.study, **values}
        bound: dict[str, str | int | float] = {}
        names: dict[str, str] = {}
        for name, value in values.items():
            if isinstance(value, str | int | float):
                bound[name], names[name] = value, f":{name}"
                continue
            several: dict[str, str | int | float] = {f"{name}_{index}": item for index, item in enumerate(value)}
            bound |= several
            names[name] = "(" + ", ".join(f":{part}" for part in several) + ")"
        expanded = _PARAMETER.sub(lambda match: names[match[1]], sql)
        shown = _PARAMETER.sub(lambda match: _literal(values[match[1]]), sql)
        if shown not in self.asked:
            self.asked.append(shown)
        if shown not in self.answers:
            self.answers[shown] = self.record.query(expanded, bound)
        return self.answers[shown].copy()

    def rows(self, sql: str, **values: Value) -> list[dict[str, Any]]:
        """The same row by row, each a mapping of column to value; an absent number is None."""
        table = self.ask(sql, **values)
        return [
            {str(name): None if value is None or value != value else value for name, value in row.items()}
            for row in table.to_dict("records")
        ]

    def afresh(self) -> Reader:
        """The same study, nothing asked yet."""
        return Reader(self.record, self.study, answers=self.answers)


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int | float):
        return repr(value)
    return "(" + ", ".join(_literal(item) for item in value) + ")"


class StudyFacts:
    """What the report says about a study as a whole, from ``v_study`` and ``v_job``.

    Raises:
        UserError: there is no such study in the record.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader.afresh()
        found = self._reader.ask("SELECT revision, title, config, created FROM v_study WHERE study = :study")
        if found.empty:
            raise _unknown(self._reader)
        row = found.iloc[0]
        self.name = reader.study
        self.revision = int(row["revision"])
        self.title = str(row["title"] or reader.study)
        self.created = row["created"]
        self.config: dict[str, Any] = json.loads(row["config"])

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.config["task"]["name"])

    @property
    def variant(self) -> str:
        """The variant on which behaviour and interventions are measured: the first."""
        return str(self.config["task"]["variants"][0])

    @property
    def model(self) -> str:
        """Name of the model that plays."""
        return str(self.config["model"]["name"])

    @property
    def model_label(self) -> str:
        """The model's name for legends: the last part of a path or hub id."""
        return self.model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def saes(self) -> list[str]:
        """Names of the autoencoders; the first is the one that single curves are drawn for."""
        return [str(section["name"]) for section in self.config["sae"]]

    @property
    def sae(self) -> str:
        """The first autoencoder.

        Raises:
            NotRecorded: the study trains none.
        """
        if not self.saes:
            raise NotRecorded("a sparse autoencoder")
        return self.saes[0]

    @property
    def alpha(self) -> float:
        """Family-wise error rate."""
        return float(self.config["correlate"]["alpha"])

    @property
    def confidence(self) -> float:
        """Of the intervals of correlations."""
        return 1 - self.alpha

    @property
    def covariates(self) -> list[str]:
        """What partial correlations hold constant."""
        return [str(name) for name in self.config["correlate"]["covariates"]]

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """Every job of the study with its provenance."""
        return self._reader.ask(
            """
            SELECT stage, key, state, config, git_commit, git_dirty, versions, seed, device, started, finished, error
            FROM v_job WHERE study = :study ORDER BY job
            """
        )

    @cached_property
    def network(self) -> dict[str, Any]:
        """How the model described itself before any training: fingerprint, architecture, …"""
        described = self.jobs[self.jobs["stage"].isin(("play", "heads", "play_maze"))]
        return dict(json.loads(described["config"].iloc[0])["model"]) if len(described) else {}

    @cached_property
    def played(self) -> dict[str, Any]:
        """The task as the model played it on the variant that behaviour is measured on: its settings by name.

        Raises:
            NotRecorded: it hasn't played yet.
        """
        configs = [json.loads(config)["task"] for config in self.jobs.loc[self.jobs["stage"] == "play", "config"]]
        found = [config for config in configs if config["variant"] == self.variant]
        if not found:
            raise NotRecorded("play of the model")
        return {str(name): value for name, value in found[0].items() if name != "name"}

    @property
    def n_blocks(self) -> int:
        """Decoder blocks of the model that plays.

        Raises:
            NotRecorded: it hasn't played yet.
        """
        if not self.network:
            raise NotRecorded("play of the model")
        return int(self.network["n_blocks"])


def _unknown(reader: Reader) -> UserError:
    known = [str(name) for name in reader.record.query("SELECT study FROM v_study ORDER BY study")["study"]]
    close = difflib.get_close_matches(reader.study, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    remedy = f"The record holds: {', '.join(known)}." if known else "Run a study first: tdlens run STUDY.toml"
    return UserError(f"There is no study {reader.study!r} in the record.{hint}", remedy)
