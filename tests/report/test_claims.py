"""Claims follow the data, in both directions, and say so where nothing can be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.two_step import TwoStep, TwoStepConfig, Variant
from jobs.report import lesioned, write_report
from jobs.report.drawing import Claim
from jobs.report.lesions import Lesion, read_lesions, td_lesion
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.returns import over_own, read_returns, yardsticks, yardsticks_of
from jobs.report.verdicts import Verdict
from tdlens.record import Record
from tests.report.conftest import claims_of, write_study
from tests.report.synthetic_latents import Strength
from tests.report.synthetic_play import STUDY

FINDS_TD = "The autoencoder finds latents that follow the TD error"
FINDS_Q = "The autoencoder finds latents that follow Q-values"
MYOPIC_AHEAD = "Latents follow myopic values more closely than Q-values"
TD_AHEAD = "Latents follow TD errors more closely than myopic errors"
COST = "Zeroing the TD latents lowers the return, more than zeroing anything else"
LIKENESS = "Zeroing the TD latents makes behaviour less like Q-learning, more than zeroing anything else"
CLAMP = "Clamping the TD latents lowers later blocks' correlation with the TD error"


on_sqlite = pytest.mark.parametrize("record", ["sqlite"], indirect=True)
"""What is read is the same on both databases: the tests without this mark show that it comes out alike."""


@pytest.fixture(scope="module")
def strong(synthetic: Record) -> dict[str, Claim]:
    """The claims of the study that replicates."""
    return claims_of(synthetic)


def lesions_of(record: Record) -> tuple[Reader, StudyFacts, list[Lesion]]:
    reader = Reader(record, STUDY)
    facts = StudyFacts(reader)
    return reader, facts, read_lesions(reader, facts)


def part(claim: Claim, beginning: str) -> Claim:
    (found,) = [row for row in claim.parts if row.text.startswith(beginning)]
    return found


def test_verdicts_follow_the_data(strong: dict[str, Claim], record: Record) -> None:
    """A study with strong latents and a costly lesion, beside one with neither."""
    write_study(record, strength=Strength(factor=0.1, myopic=-0.25), cost=0.0)
    weak = claims_of(record)
    for text in (FINDS_TD, FINDS_Q, MYOPIC_AHEAD, LIKENESS, CLAMP):
        assert strong[text].ruling.verdict is Verdict.REPLICATES, text
        assert weak[text].ruling.verdict is not Verdict.REPLICATES, text
    ranking = strong["Q-learning explains the choices better than its rivals"]
    rivals = {part.text: part.ruling.verdict for part in ranking.parts}
    assert rivals.pop("… than copying the best episode so far (the reviewers' alternative)") is Verdict.UNCLEAR
    assert set(rivals.values()) == {Verdict.REPLICATES}
    assert ranking.ruling.verdict is Verdict.UNCLEAR


@on_sqlite
def test_equal_correlations_are_a_coin_flip(strong: dict[str, Claim], record: Record) -> None:
    """TD errors and myopic errors are followed alike in every synthetic study; values are not, in this one."""
    write_study(record, strength=Strength(myopic=-0.25))
    assert strong[TD_AHEAD].ruling.verdict is Verdict.UNCLEAR
    assert claims_of(record)[MYOPIC_AHEAD].ruling.verdict is Verdict.DIFFERS


@on_sqlite
def test_comparisons_are_held_out(strong: dict[str, Claim], record: Record) -> None:
    """Latents that are ahead of raw dimensions over all rollouts, and behind on those that did not choose them."""
    write_study(record, strength=Strength(overfit=0.3))
    claims = claims_of(record)
    for text in (FINDS_TD, FINDS_Q):
        assert part(strong[text], "… and beyond raw").ruling.verdict is Verdict.REPLICATES
        assert part(claims[text], "… and beyond raw").ruling.verdict is Verdict.DIFFERS


@on_sqlite
def test_no_control_is_beaten_where_nothing_changes(record: Record) -> None:
    """Choices without an effect: no control is beaten, none wins either."""
    write_study(record, cost=0.0)
    claims = claims_of(record)
    beaten = [row.ruling.verdict for row in claims[LIKENESS].parts if row.text.startswith("… more than")]
    assert len(beaten) > 1
    assert set(beaten) == {Verdict.UNCLEAR}


@on_sqlite
def test_sparing_no_latent_tests_nothing(strong: dict[str, Claim], record: Record) -> None:
    write_study(record, spared=0)
    claims = claims_of(record)
    row = part(claims[COST], "… also without")
    assert row.ruling.verdict is Verdict.UNCLEAR
    assert row.ours == "no latent was removed"
    assert row.sentence == "No latent was removed, so nothing is tested."
    assert claims[COST].ruling.verdict is not Verdict.REPLICATES
    tested = part(strong[COST], "… also without")
    assert "points" in tested.ours
    assert tested.ruling.verdict is Verdict.REPLICATES


def test_an_edit_is_shown_beside_its_own_controls(synthetic: Record) -> None:
    _, _, lesions = lesions_of(synthetic)
    lesion = td_lesion(lesions)
    remaining = lesion.without_q(lesions)
    assert remaining is not None
    assert remaining.name == "td_minus_q_zero"
    assert {"lowest_zero", "matched_zero", "random_direction"} <= {one.name for one in lesion.controls(lesions)}
    assert not {"matched_clamp", "q10_matched_zero"} & {one.name for one in lesion.controls(lesions)}
    labels = [one.label for one in lesion.beside(lesions)]
    assert len(labels) == len(set(labels))
    assert remaining in lesion.beside(lesions)
    same = [replace(one, latents=lesion.latents, places=lesion.places) if one is remaining else one for one in lesions]
    assert lesion.beside(same) == lesion.controls(lesions)
    assert lesion.untested(replace(remaining, latents=(), places=())) == "no latent was left"


def test_captions_name_the_latents(synthetic: Record) -> None:
    reader, facts, lesions = lesions_of(synthetic)
    lesion = td_lesion(lesions)
    text = lesioned.about(reader, facts, lesion)
    (r,) = synthetic.query(
        "SELECT r FROM v_latent_correlation WHERE sae = 'paper' AND block = 3 AND signal = 'td_error' AND latent = 0"
    )["r"]
    assert f"block 3, latent 0 of 'paper', r = {r:.2f}".replace("-", "−") in text
    assert "leaves out the last block" in text
    assert "the correlation claim and Fig 3 speak of block 2, latent 3 of 'paper'" in text
    same = lesioned.about(reader, facts, replace(lesion, block=2, latents=(3,), places=((2, 3),)))
    assert "the correlation claim and Fig 3 speak of the same latent" in same
    fixed = lesioned.about(reader, facts, replace(lesion, asked={**lesion.asked, "block": 3}))
    assert "leaves out" not in fixed


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_yardsticks_are_those_of_the_game(variant: Variant, seed: int) -> None:
    """Against playing out the four pairs of choices in every episode."""
    config = TwoStepConfig(variant, episodes=6, random_episodes=0, change_episode=2)
    returns = np.zeros((4, config.episodes))
    for pair in range(4):
        game = TwoStep(config, seed)
        while not game.done:
            game.act(pair >> 1 if len(game.steps) % 2 == 0 else pair & 1)
            returns[pair, game.steps[-1].episode] += game.steps[-1].reward
    expected = yardsticks(config)
    np.testing.assert_allclose(expected["chance"], returns.mean(0))
    np.testing.assert_allclose(expected["optimum"], returns.max(0))


def test_yardsticks_by_variant() -> None:
    standard, reward, transition = (yardsticks(TwoStepConfig(variant)) for variant in Variant)
    assert set(standard.itertuples(index=False, name=None)) == {(4.0, 8.0)}
    assert set(transition.itertuples(index=False, name=None)) == {(4.75, 9.0)}
    assert list(reward.itertuples(index=False, name=None)) == [(4.0, 8.0)] * 15 + [(6.0, 10.0)] * 15


def test_chance_and_confidence_are_the_studys(record: Record, tmp_path: Path) -> None:
    """A study that measures behaviour on the reward disruption, at another family-wise rate."""
    variants = ["reward_disruption", "standard", "transition_disruption"]
    write_study(record, changes={"task": {"variants": variants}, "correlate": {"alpha": 0.1}})
    reader = Reader(record, STUDY)
    facts = StudyFacts(reader)
    chance = over_own(yardsticks_of(facts)["chance"], read_returns(reader, facts))
    assert chance == pytest.approx((8 * 4 + 15 * 6) / 23)
    claims = claims_of(record)
    assert f"chance ({chance:.2f})" in claims["The model earns more than chance"].ruling.rule
    assert "our 90 % interval" in claims[TD_AHEAD].ruling.rule
    html = write_report(record, STUDY, tmp_path).read_text(encoding="utf-8")
    assert "those of correlations 90 %" in html
    assert f"chance is {chance:.2f} points and the best policy gets 9.30" in html
