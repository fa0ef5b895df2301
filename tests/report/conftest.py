"""A small synthetic study, written through the record as a real run writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step import REPORT
from jobs.study import load
from tdlens.record import Record, current_study
from tdlens.settings import Settings
from tests.databases import migrated_postgres, record, settings
from tests.report.synthetic_latents import (
    Strength,
    write_activations,
    write_correlations,
    write_interventions,
    write_saes,
)
from tests.report.synthetic_play import MODEL, STUDY, Writer, write_fits, write_play, write_published

__all__ = ["migrated_postgres", "record", "settings"]

STRONG = Strength()


def write_study(
    record: Record,
    *,
    strength: Strength = STRONG,
    cost: float = 0.6,
    spared: int = 1,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """A whole study.

    Args:
        strength: of the correlations.
        cost: share of the inverse temperature that lesions of the chosen latents take away.
        spared: how many TD latents an edit without Q latents leaves out.
        changes: what the study's configuration has other than the demo's, by section.
    """
    study = load(Path(__file__).parents[2] / "studies" / "two_step_demo.toml")
    config = json.loads(study.model_dump_json(exclude={"title"}))
    for section, values in (changes or {}).items():
        config[section] |= values
    with record.session() as session:
        row = current_study(session, name=STUDY, title="A synthetic <study>", config=config)
        writer = Writer(session, row, np.random.default_rng(5))
        models = {name: writer.model(name) for name in (MODEL, f"{MODEL}-untrained")}
        write_published(writer)
        write_play(writer, models[MODEL])
        write_fits(writer, models[MODEL])
        saes = write_saes(writer, models[MODEL])
        write_activations(writer, saes["paper", 2])
        write_correlations(writer, models, saes, strength)
        write_interventions(writer, config, models[MODEL], saes, cost, spared)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """An open record with the synthetic study; read only."""
    home = tmp_path_factory.mktemp("report")
    record = Record.open(Settings.from_environment({"TDLENS_HOME": str(home)}))
    write_study(record)
    yield record
    record.close()


def claims_of(record: Record) -> dict[str, Claim]:
    """The report's claims on the synthetic study by their text."""
    reader = Reader(record, STUDY)
    return {claim.text: claim for claim in REPORT.claims(reader, StudyFacts(reader))}
