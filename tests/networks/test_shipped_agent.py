"""The agent in this repository: it passes its gate, which no baseline does, and says where it comes from."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest
import torch

from envs.rook_endgame import START_PROBABILITIES, Outcome, Variant
from envs.rook_values import best_returns
from jobs.networks.evaluate import Played, compare, follow, greedy_policy, sample_games
from jobs.networks.files import SHIPPED, load_network
from jobs.networks.learned import TRAINING
from jobs.networks.q_network import untrained
from jobs.networks.train import AgentConfig

FOLDER = SHIPPED["rook_128"]
GATE = 45
SOURCE = 49.1
"""Mean return of the source's agent over as many games."""

Compared = dict[str, tuple[Played, float | None]]


@pytest.fixture(scope="module")
def compared() -> Compared:
    """The agent, optimal and random play in the games of ``tdlens evaluate-agent``."""
    return {name: (played, exact) for name, played, exact in compare(FOLDER, Variant.SMART, 3000, seed=0)}


def test_the_gate_holds(compared: Compared) -> None:
    played, exact = compared["rook_128"]
    assert exact is not None
    assert len(played.returns) == 3000
    assert played.returns.mean() - played.half_width() >= GATE and exact >= GATE
    assert played.returns.mean() - played.half_width() > SOURCE
    assert abs(played.returns.mean() - exact) < 1.5 * played.half_width()
    assert played.share(Outcome.CHECKMATE) > 0.9


def test_it_plays_as_well_in_games_that_start_from_another_seed() -> None:
    network, _ = load_network(FOLDER)
    for seed in (1, 2):
        assert sample_games(follow(greedy_policy(network)), 3000, seed).returns.mean() >= GATE


def test_no_player_exceeds_the_ceiling_and_random_play_is_far_below_the_gate(compared: Compared) -> None:
    ceiling = float(START_PROBABILITIES @ best_returns().returns[0])
    best, agent = compared["optimal play"][1], compared["rook_128"][1]
    assert best is not None and agent is not None
    assert agent < best == pytest.approx(ceiling)
    assert compared["random play"][0].returns.mean() < -90
    fresh = greedy_policy(untrained(75, (128, 128), 24, seed=0))
    assert sample_games(follow(fresh), 500, 0).returns.mean() < -90


def test_it_has_the_sources_sizes_and_was_made_by_the_default_configuration() -> None:
    network, about = load_network(FOLDER)
    config = json.loads(json.dumps(asdict(AgentConfig())))
    record = json.loads((FOLDER / TRAINING).read_text())
    assert about.training == config == record["config"]
    assert (network.n_inputs, network.widths, network.n_actions) == (75, (128, 128), 24)
    assert all(weight.dtype == torch.float32 for weight in network.parameters())
    cost, curve = record["cost"], record["curve"]
    assert cost["moves"] == curve[-1]["moves"] == AgentConfig().moves and cost["cpu_seconds"] > 0
    assert curve[0]["mean_return"] < 0 < GATE < curve[-1]["mean_return"]


def test_the_curve_ends_with_these_weights(compared: Compared) -> None:
    record = json.loads((FOLDER / TRAINING).read_text())
    # of boards on which two actions are worth nearly the same, another processor may choose the other
    assert record["curve"][-1]["mean_return"] == pytest.approx(compared["rook_128"][1], abs=0.5)


def test_the_folder_is_small_and_holds_safetensors_alone() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(files) == {"README.md", "config.json", "model.safetensors", TRAINING}
    assert sum(files.values()) < 250_000


def test_the_card_says_what_is_measured_here(compared: Compared) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    network, _ = load_network(FOLDER)
    assert "tdlens train-agent" in card and "seed 0" in card and "Cost" in card
    assert f"{sum(weight.numel() for weight in network.parameters()):,} parameters" in card
    told = {
        cells[1]: [float(number) for number in re.findall(r"-?\d+\.\d+", " ".join(cells[2:]))]
        for line in card.splitlines()
        if line.startswith("|")
        for cells in [[cell.strip() for cell in line.split("|")]]
    }
    for name, (played, exact) in compared.items():
        shares = [100 * played.share(outcome) for outcome in (Outcome.CHECKMATE, Outcome.TIME_OUT, Outcome.ILLEGAL)]
        measured = [played.returns.mean(), played.half_width(), *shares, 100 * played.share(Outcome.BLUNDER)]
        assert told[name] == pytest.approx([*measured, *([] if exact is None else [exact])], abs=0.3)
