"""The queries under docs/ answer on both databases."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

from jobs.cli import app
from tdlens.record import HeadScore, Record
from tdlens.testing.rows import fill

QUERIES = sorted((Path(__file__).parents[2] / "docs" / "queries").glob("*.sql"))


@pytest.fixture
def filled(record: Record) -> Record:
    with record.session() as session:
        fill(session)
        session.execute(text("UPDATE latent_correlation SET r = 0.8, block = 3, ci_low = 0.75"))
    return record


@pytest.mark.parametrize("query", QUERIES, ids=lambda path: path.stem)
def test_a_query_answers(filled: Record, query: Path) -> None:
    asked = CliRunner().invoke(app, ["sql", str(query), "--format", "csv"], env=filled.settings.environment)
    assert asked.exit_code == 0, asked.stderr
    assert len(asked.stdout.splitlines()) > 1, "no row was found"


def test_latents_of_a_block_and_not_the_weak_ones(filled: Record) -> None:
    query = next(path for path in QUERIES if path.stem == "latents_of_a_block").read_text()
    (row,) = filled.query(query).to_dict("records")
    assert (row["latent"], row["r"], row["ci_low"]) == (3, 0.8, 0.75)
    for change in ("r = 0.7", "r = -0.8", "r = 0.8, block = 4"):
        with filled.session() as session:
            session.execute(text(f"UPDATE latent_correlation SET {change}"))  # noqa: S608
        assert filled.query(query).empty


def test_what_a_latent_stands_for_is_beside_what_it_does(filled: Record) -> None:
    stand, do = ((QUERIES[0].parent / f"what_latents_{verb}.sql").read_text() for verb in ("stand_for", "do"))
    (row,) = filled.query(stand).to_dict("records")
    assert (row["latent"], row["predicate"], row["f1_heldout"], row["flip_rate"]) == (3, "at_2", 0.75, 0.0)
    (row,) = filled.query(do).to_dict("records")
    assert (row["latent"], row["frequency"], row["flip_rate"]) == (3, 0.5, 0.0)
    with filled.session() as session:
        session.execute(text("UPDATE latent_predicate SET p_familywise = 0.05"))
        session.execute(text("DELETE FROM latent_measure WHERE name = 'flip_rate'"))
    assert filled.query(stand).empty
    assert filled.query(do).flip_rate.isna().all()


def test_heads_have_their_mean_over_evaluation_and_what_they_are_known_for(filled: Record) -> None:
    query = (QUERIES[0].parent / "heads_that_matter.sql").read_text()
    with filled.session() as session:
        known = session.scalars(select(HeadScore)).one()
        about: dict[str, Any] = {
            **{"job_id": known.job_id, "model_id": known.model_id, "task_id": known.task_id, "head": 1},
            **{"task_damage": 4.0, "control_damage": 1.5, "score": 2.5, "ablation": "value_bias", "block": 2},
        }
        session.add_all(
            [
                HeadScore(**about, seed=1, split="evaluation"),
                HeadScore(**about | {"score": 9.0}, seed=2, split="training"),
                HeadScore(**about | {"score": 9.0, "ablation": "zero"}, seed=1, split="evaluation"),
                HeadScore(**about | {"block": 1}, seed=1, split="evaluation"),
            ]
        )
    unknown, found = filled.query(query).to_dict("records")
    assert (unknown["head"], unknown["score"]) == ("0.1", 2.5) and pd.isna(unknown["known_for"])
    assert (found["head"], found["score"], found["task_damage"], found["episodes"]) == ("1.1", 2.0, 3.0, 2)
    assert found["attribution"] == 1.25 and found["known_for"] == "induction"


def test_searches_are_beside_the_best_of_their_episodes(filled: Record) -> None:
    query = (QUERIES[0].parent / "how_searches_fare.sql").read_text()
    (row,) = filled.query(query).to_dict("records")
    assert (row["method"], row["trained_best_of"], row["best_of"], row["episodes"]) == ("ppo", 5, 1, 1)
    assert row["share"] == pytest.approx(1 / 1.5) and row["found_the_best"] == 0
    with filled.session() as session:
        session.execute(text("UPDATE search_episode SET best_score = -1.0, oracle = -0.5, best_block = 2"))
    (row,) = filled.query(query).to_dict("records")
    assert pd.isna(row["share"]) and row["found_the_best"] == 1


def test_a_file_may_end_with_a_semicolon_or_not_be_there(filled: Record, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("SELECT study FROM v_study;\n")
    environment = filled.settings.environment
    asked = CliRunner().invoke(app, ["sql", str(tmp_path / "q.sql"), "--format", "csv"], env=environment)
    assert asked.stdout.split() == ["study", "demo"]
    asked = CliRunner().invoke(app, ["sql", "nothing.sql"], env=environment)
    assert asked.exit_code == 2 and "nothing.sql can't be read" in asked.stderr
