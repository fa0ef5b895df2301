"""Trainings from scratch: a shorter one, the rates, and phases that need no warm-up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.circuit_model.train import CircuitModelConfig
from jobs.from_scratch import Config, initialised, n_steps, share_of_peak, shortened
from jobs.reference.train import Phase, ReferenceConfig, train


@pytest.mark.parametrize("whole", [CircuitModelConfig(), ReferenceConfig()])
@given(steps=st.integers(1, 8000))
def test_a_shorter_training_has_all_its_steps_in_the_same_shares(whole: Config, steps: int) -> None:
    short = shortened(whole, steps)
    assert n_steps(short) == steps and replace(short, phases=whole.phases) == whole
    for phase, other in zip(whole.phases, short.phases, strict=True):
        assert abs(other.steps - phase.steps * steps / n_steps(whole)) <= 1
        assert replace(other, steps=phase.steps) == phase


def test_rates_rise_stay_and_fall() -> None:
    rates = [share_of_peak(step, 10, warm_up=4, decay=0.5) for step in range(1, 11)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert {share_of_peak(step, 10, warm_up=0, decay=0.0) for step in range(1, 11)} == {1.0}


def test_a_first_phase_without_warm_up_trains(tmp_path: Path) -> None:
    tokens = {"two_step": 340, "grid_world": 200, "graph_walk": 200}
    config = ReferenceConfig(d_model=16, n_blocks=1, n_heads=2, d_mlp=32, phases=(Phase(1, tokens, (0.05,)),))
    untrained = train(replace(config, muon_rate=0.0, adamw_rate=0.0), tmp_path / "none")
    trained = train(config, tmp_path / "one")
    for before, after in zip(untrained.parameters(), trained.parameters(), strict=True):
        assert not torch.equal(before, after)


def test_weights_are_drawn_from_their_seed_alone() -> None:
    def drawn(seed: int) -> torch.Tensor:
        return initialised(lambda: torch.nn.Linear(3, 3), seed).weight

    state = torch.get_rng_state()
    first = drawn(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(drawn(1), first) and not torch.equal(drawn(2), first)
