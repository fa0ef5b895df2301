"""The weights in this repository: they pass their gates, which no baseline does, and say where they come from."""

from __future__ import annotations

import pytest

from envs.two_step import TwoStep, TwoStepConfig
from jobs.inference.files import REFERENCE_MODEL
from jobs.inference.models import load_engine
from jobs.inference.play import play
from jobs.reference.evaluate import Evaluation, evaluate
from jobs.reference.gates.two_step import share
from jobs.reference.train import ReferenceConfig
from jobs.reference.vocabulary import build_tokenizer
from tests.from_scratch import assert_shipped_tokenizer, assert_small_and_in_safetensors, cost_of, numbers_in


@pytest.fixture(scope="module")
def found() -> Evaluation:
    """On task instances that never occur in the training histories."""
    return evaluate("reference", seed=0, n=60, device="cpu")


GATES = {
    "two-step: reward-swap slope (logits per 10 points)": "≥ 0.5",
    "two-step: self-play, share of the Q-learner's gain": "≥ 0.75",
    "grid world: goals a move, last quarter over first": "≥ 2",
    "grid world: share of the replay Q-learners' goals, last quarter": "≥ 0.6",
    "graph: nats above ln 4, last half": "≤ 0.25",
    "graph: probability of the neighbours, last half": "≥ 0.8",
}


def test_the_gates_hold(found: Evaluation) -> None:
    assert {row.name: row.gate for row in found.measures if row.gate} == GATES
    failed = [(row.name, row.value) for row in found.measures if row.passed is False]
    assert not failed and found.passed
    assert found.value("two-step: reward-swap slope, 2.5 % bound") > 0.5


def test_the_baselines_would_not_pass(found: Evaluation) -> None:
    assert abs(found.value("two-step: reward-swap slope, untrained")) < 0.05
    of = "two-step: return in the last third: "
    returns = {row.name.removeprefix(of): row.value for row in found.measures if row.name.startswith(of)}
    for baseline in ("copy_only", "untrained", "random"):
        assert share({**returns, "model": returns[baseline]}) < 0.3
    agents = found.value("grid world: goals a move, last quarter, replay Q-learners")
    assert found.value("grid world: goals a move, last quarter, untrained") < 0.3 * agents
    assert found.value("graph: nats above ln 4, last half, untrained") > 2
    assert found.value("graph: probability of the neighbours, last half, untrained") < 0.1


def test_the_weights_are_small_and_in_safetensors_alone() -> None:
    assert_small_and_in_safetensors(REFERENCE_MODEL)


def test_they_were_made_by_the_default_configuration() -> None:
    config = ReferenceConfig()
    cost = cost_of(REFERENCE_MODEL, config)
    assert cost["tokens"] > sum(phase.steps * sum(phase.tokens.values()) for phase in config.phases) / 2
    assert cost["cpu_seconds"] > 0
    described = load_engine("reference").describe()
    assert (described.n_blocks, described.d_model) == (config.n_blocks, config.d_model)
    assert described.dtype == "float32"


def test_the_tokenizer_beside_them_is_the_one_in_the_code() -> None:
    assert_shipped_tokenizer("reference", build_tokenizer())
    assert load_engine("reference").tokenizer.padding_side == "left"


def test_the_card_says_what_is_measured_here(found: Evaluation) -> None:
    card = (REFERENCE_MODEL / "README.md").read_text(encoding="utf-8")
    assert "tdlens train-reference" in card and "seed 0" in card and "Cost" in card
    assert f"{load_engine('reference').describe().n_parameters:,} parameters" in card
    told = numbers_in(card)
    for row in found.measures:
        # fewer instances here; the ratio of two small rates varies most
        wide = 1.0 if "slope" in row.name or "return" in row.name else 0.15
        ratio = 0.5 if " over " in row.name else 0.0
        assert told.pop(row.name) == pytest.approx(row.value, abs=wide, rel=ratio)
    assert not told


def test_it_exploits_the_better_branch_once_it_has_seen_both() -> None:
    games = [TwoStep(TwoStepConfig(), seed) for seed in range(40)]
    play(load_engine("reference", device="cpu"), games, seed=0, batch_size=40)
    points = [[step.reward for step in game.steps if step.done and step.episode >= 20] for game in games]
    best = [sum(reward == 8 for reward in late) >= 8 for late in points]
    assert sum(best) > 20  # most rollouts, most of the time; chance is one episode in four
