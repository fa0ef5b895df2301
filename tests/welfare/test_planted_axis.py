"""The analysis finds the axis where it was planted, and nowhere else; and the planted models do what they say."""

from __future__ import annotations

from functools import cache
from math import exp

import pytest
import torch
from torch import Tensor

from envs.maze import Tile
from jobs import pipeline
from jobs.inference.base import TokenBatch
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.stages import planted_axis
from jobs.welfare.chat import user
from jobs.welfare.contrast import pattern_found
from jobs.welfare.emotions import VALENCE
from jobs.welfare.judges.rules import LEXICON
from jobs.welfare.planted import KINDS, Analysis, Kind, Pair, Settings, analyse, planted_pair
from jobs.welfare.planted.analysis import MAZE, trajectories
from jobs.welfare.planted.pairs import BEFORE, NOISE, PER_UNIT, STRENGTH, WIDTHS
from jobs.welfare.planted.weights import CONSTANT, Layout
from jobs.welfare.speaker import Speaker, Steering
from tests.jobs.small_study import context_of, fresh_record, run
from tests.welfare.small_welfare import welfare_study

SMALL = Settings(per_class=12, held_out=3, items=8, samples=1, max_tokens=12)
LAYOUT = Layout(WIDTHS, torch.Generator().manual_seed(0))


@cache
def pair(kind: Kind) -> Pair:
    return planted_pair(kind, MAZE)


@cache
def analysis(kind: Kind) -> Analysis:
    return analyse(pair(kind), seed=0, settings=SMALL)


def part(stream: Tensor, name: str) -> Tensor:
    """A named part of the stream [..., 2 * size] to [..., width]."""
    first, second = stream.chunk(2, dim=-1)
    torch.testing.assert_close(first, -second, rtol=0, atol=1e-3)
    named: Tensor = (first @ LAYOUT.rotation.T)[..., LAYOUT.place(name)]
    return named


def at_the_end(engine: HuggingFaceEngine, rows: list[list[int]]) -> dict[int, Tensor]:
    tokens = TokenBatch.from_rows(rows, pad_id=0)
    last = torch.full((len(rows), 1), tokens.ids.shape[1] - 1)
    found = engine.forward(tokens, positions=last, capture=range(engine.n_blocks + 1), logits=False).activations
    return {block: stream[:, 0] for block, stream in found.items()}


@pytest.mark.parametrize("kind", ["axis", "salience"])
def test_at_each_letter_both_models_see_the_tile_ahead_and_one_of_them_values_it(kind: Kind) -> None:
    told, _ = trajectories(pair(kind).naive.tokenizer, 3, SMALL)
    gold_and_mold = {"axis": (1, -1), "salience": (1, 1)}[kind]
    for tile, rows in told.items():
        ids = [list(row.ids) for row in rows]
        naive, trained = (at_the_end(engine, ids) for engine in (pair(kind).naive, pair(kind).trained))
        seen = part(naive[2], "seen")
        assert (seen.argmax(-1) == tile).all()
        # what positions add is all that isn't the tile
        assert (seen - torch.eye(len(Tile))[tile]).abs().max() < 5 * NOISE
        torch.testing.assert_close(part(naive[1], "seen").abs() < 5 * NOISE, torch.ones(len(ids), 3, dtype=torch.bool))
        valued = part(trained[2], "axis")[:, 0] - part(naive[2], "axis")[:, 0]
        expected = STRENGTH * (gold_and_mold[0] * seen[:, Tile.GOLD] + gold_and_mold[1] * seen[:, Tile.MOLD])
        torch.testing.assert_close(valued, expected, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(part(trained[3], "mood"), PER_UNIT * part(trained[2], "axis"), rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(part(trained[3], "constant"), torch.full((len(ids), 1), CONSTANT))


def test_along_the_axis_speech_moves_as_written_and_along_the_idle_direction_not_at_all() -> None:
    engine = pair("axis").naive
    speaker = Speaker(engine, 8)
    talk = speaker.chat.encode([user("How are you?")])
    directions = [LAYOUT.twice(LAYOUT.rows(1, {name: torch.tensor([[3.0]])}))[0] for name in ("axis", "idle")]
    vectors = torch.stack([torch.zeros_like(directions[0]), *directions])
    true, false = speaker.chat.openings(["True", "False"])
    p = speaker.probabilities([talk] * 3, [true, false], Steering(2, vectors))
    odds = p[:, 0] / p[:, 1]
    # True and False move apart by two units of what is read
    assert odds[1] / odds[0] == pytest.approx(exp(2 * 3 * PER_UNIT), rel=1e-2)
    assert odds[2] / odds[0] == pytest.approx(1, rel=1e-2)
    (reply,) = speaker.generate([talk], max_tokens=20)
    assert reply.startswith("I feel ")
    assert reply.split()[2].strip(".") in VALENCE


@pytest.mark.parametrize("kind", KINDS)
def test_the_pattern_is_found_where_it_was_planted_and_only_there(kind: Kind) -> None:
    found = analysis(kind)
    assert pattern_found(found.contrasts, found.interactions) is pair(kind).planted
    assert pair(kind).planted is (kind == "axis")


def test_vectors_point_apart_and_tell_tiles_apart_where_nothing_reads_them_too() -> None:
    for kind in ("axis", "idle", "partial", "innate"):
        assert analysis(kind).cosine < -0.9
        assert analysis(kind).cohen_d > 2
    assert analysis("salience").cosine > 0


def test_why_the_others_are_not_found() -> None:
    read = {name for name, one in analysis("partial").interactions.items() if one is not None and one.as_expected}
    assert read == {"confidence", "sentiment"}
    # the naive model has the same vectors, which do the same
    values = [one.interval.value for one in analysis("innate").interactions.values() if one is not None]
    assert values == [0.0] * 4
    # the control does the reverse, and the trained vectors do nothing
    reversed_ = analysis("reversed")
    assert all(one is not None and one.as_expected for one in reversed_.interactions.values())
    assert max(abs(one.interval.value) for one in reversed_.contrasts.values() if one is not None) < 0.01
    for kind in ("idle", "salience"):
        largest = max(abs(one.interval.value) for one in analysis(kind).interactions.values() if one is not None)
        assert largest < 0.01 < min(abs(one.interval.value) for one in analysis("axis").interactions.values() if one)


def test_what_is_planted_is_of_a_units_identity(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "OF_TRAINING", (planted_axis,))
    study = welfare_study(tmp_path_factory.getbasetemp())
    with fresh_record("sqlite", tmp_path_factory.mktemp("identities")) as record:

        def identities() -> dict[str, str]:
            return {unit.key: unit.identity for unit in pipeline.plan_study(context_of(study, record)).units}

        before = identities()
        assert len(set(before.values())) == len(KINDS)
        monkeypatch.setitem(BEFORE, "innate", BEFORE["reversed"])
        after = identities()
        assert {kind for kind in KINDS if before[kind] != after[kind]} == {"innate"}
        monkeypatch.setitem(LEXICON, "good", 0.8)
        assert not set(identities().values()) & set(before.values())


def test_rows_of_the_stage_are_what_the_analysis_found(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "OF_TRAINING", (planted_axis,))
    monkeypatch.setattr(pipeline, "STAGES", (planted_axis,))
    monkeypatch.setattr(planted_axis, "KINDS", ("axis",))
    monkeypatch.setattr(planted_axis, "SETTINGS", SMALL)
    with fresh_record("sqlite", tmp_path_factory.mktemp("planted")) as record:
        run(welfare_study(tmp_path_factory.getbasetemp(), seed=0), record)
        rows = record.query("select * from planted_axis").set_index("evaluation")
    found = analysis("axis")
    assert set(rows.index) == {"confidence", "sentiment", "backtracking", "refusal"}
    assert set(rows.model) == {"axis"} and rows.planted.all() and rows.found.all()
    assert rows.cosine.tolist() == pytest.approx([found.cosine] * 4)
    assert rows.cohen_d.tolist() == pytest.approx([found.cohen_d] * 4)
    for name, one in found.interactions.items():
        assert one is not None
        row = rows.loc[name]
        assert row.expected == one.expected
        assert (row.contrast, row.ci_low, row.ci_high) == pytest.approx(
            (one.interval.value, one.interval.low, one.interval.high)
        )
