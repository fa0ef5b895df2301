"""Queries are bound, shown as they can be run again, and mistakes in names are met with a suggestion."""

from __future__ import annotations

import pandas as pd
import pytest

from jobs.report import strongest
from jobs.report.reader import Reader, StudyFacts
from tdlens.errors import UserError
from tdlens.record import Record, current_study
from tests.report.synthetic_play import MODEL, ROLLOUTS, STUDY

SQL = """
    SELECT signal, count(*) AS n FROM v_correlation
    WHERE study = :study AND signal IN :signals AND block <= :block
    GROUP BY signal ORDER BY signal
"""


def test_a_shown_query_runs_as_it_is(synthetic: Record) -> None:
    reader = Reader(synthetic, STUDY)
    answer = reader.ask(SQL, signals=("td_error", "q_left"), block=2)
    (shown,) = reader.asked
    assert ":" not in shown
    assert list(answer["signal"]) == ["q_left", "td_error"]
    pd.testing.assert_frame_equal(synthetic.query(shown), answer)


def test_the_same_query_is_shown_once(synthetic: Record) -> None:
    reader = Reader(synthetic, STUDY)
    for _ in range(2):
        reader.ask("SELECT revision FROM v_study WHERE study = :study")
    reader.ask("SELECT title FROM v_study WHERE study = :study")
    assert len(reader.asked) == 2
    assert reader.afresh().asked == []


@pytest.mark.parametrize("name", ["it's", "a'; DROP TABLE step; --"])
def test_quotes_in_a_name_are_harmless(synthetic: Record, name: str) -> None:
    reader = Reader(synthetic, name)
    sql = "SELECT :study AS study"
    assert reader.ask(sql)["study"][0] == name
    assert synthetic.query(reader.asked[0])["study"][0] == name


def test_absent_numbers_become_none(synthetic: Record) -> None:
    rows = Reader(synthetic, STUDY).rows("SELECT NULL AS a, 1.5 AS b UNION ALL SELECT 2.0, NULL")
    assert rows == [{"a": None, "b": 1.5}, {"a": 2.0, "b": None}]


def test_an_unknown_study_is_met_with_a_suggestion(synthetic: Record) -> None:
    with pytest.raises(UserError) as caught:
        StudyFacts(Reader(synthetic, "two_step_dmo"))
    assert f"Did you mean {STUDY}?" in caught.value.message
    assert STUDY in caught.value.remedy


def test_an_empty_record_says_how_to_begin(record: Record) -> None:
    with pytest.raises(UserError, match="tdlens run"):
        StudyFacts(Reader(record, STUDY))


def test_facts(synthetic: Record) -> None:
    facts = StudyFacts(Reader(synthetic, STUDY))
    assert (facts.task, facts.variant, facts.model, facts.sae) == ("two_step", "standard", MODEL, "paper")
    assert facts.n_blocks == 6
    assert set(facts.jobs["state"]) == {"done"}


def test_a_revision_without_play_has_no_network(record: Record) -> None:
    config = {"task": {"name": "two_step", "variants": ["standard"]}}
    with record.session() as session:
        current_study(session, name="new", title="", config=config)
    facts = StudyFacts(Reader(record, "new"))
    assert facts.network == {}
    assert facts.title == "new"


def test_selection_is_by_the_selection_half(synthetic: Record) -> None:
    """Against plain pandas: largest r_selection for latents, largest |r_selection| in its own direction for others."""
    reader = Reader(synthetic, STUDY)
    facts = StudyFacts(reader)
    chosen = strongest.selected(reader, facts, ("td_error",))
    everything = synthetic.query(
        "SELECT * FROM v_correlation WHERE study = :study AND signal = 'td_error'", {"study": STUDY}
    )
    assert set(chosen["source"]) == {"sae", "raw", "pca", "untrained", "shuffled"}
    for row in chosen.to_dict("records"):
        source = "raw" if row["source"] == "untrained" else row["source"]
        same = everything[
            (everything["source"] == source)
            & (everything["model"] == row["model"])
            & (everything["block"] == row["block"])
            & (everything["sae"].isna() if pd.isna(row["sae"]) else everything["sae"] == row["sae"])
        ]
        assert len(same) == 8
        signed = row["source"] in ("sae", "shuffled")
        key = same["r_selection"] if signed else same["r_selection"].abs()
        best = same.loc[key.idxmax()]
        turn = -1 if not signed and best["r_selection"] < 0 else 1
        assert row["latent"] == best["latent"]
        assert row["r_heldout"] == pytest.approx(turn * best["r_heldout"])
        assert row["ci_low"] <= row["r"] <= row["ci_high"]


def test_groups_average_over_columns(synthetic: Record) -> None:
    reader = Reader(synthetic, STUDY)
    found = strongest.highest(reader, StudyFacts(reader), ("q_left", "q_right"))
    values = strongest.by_block(found, "r", "sae", ("q_left", "q_right"), "paper")
    (expected,) = synthetic.query(
        """
        SELECT avg(r) AS r FROM (
            SELECT max(r) AS r FROM v_latent_correlation
            WHERE sae = 'paper' AND block = 3 AND signal IN ('q_left', 'q_right') GROUP BY signal
        ) AS columns_of_q
        """
    )["r"]
    assert values.loc[3] == pytest.approx(expected)
    assert strongest.by_block(found, "r", "sae", ("q_left", "myopic_left"), "paper").empty
    assert synthetic.query("SELECT min(n_rollouts) AS n FROM v_behaviour_fit")["n"][0] == ROLLOUTS
