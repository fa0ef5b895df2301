"""Dead latents start again: from which rows, with which weights, and what is left alone."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sae.architectures import build
from sae.autoencoder import Autoencoder
from sae.config import SAEConfig
from sae.resampling import resample_dead, resampling_steps, row_losses
from sae.training import TrainingConfig, train

TOPK = SAEConfig("topk", 6, 12, k=2, dead_after=100, resamplings=1, aux_weight=0.0, centre=True)
RELU = SAEConfig("relu", 6, 12, l1=1e-3, dead_after=100, resamplings=1)
CONFIGS = {"topk": TOPK, "relu": RELU}
DEAD = [1, 4, 9]


def data(n: int = 60) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=g) * torch.linspace(0.1, 3, n)[:, None] + 1


def trained_a_little(config: SAEConfig, x: torch.Tensor) -> tuple[Autoencoder, torch.optim.Adam]:
    """After a few steps, with three latents declared dead."""
    sae = build(config, torch.Generator().manual_seed(2))
    sae.fit_scaling(x)
    optimiser = torch.optim.Adam(sae.parameters(), lr=1e-2)
    for _ in range(5):
        optimiser.zero_grad()
        sae.loss(sae.scaled(x)).loss.backward()
        optimiser.step()
        sae.after_step()
    sae.rows_since_fired[:] = 0
    sae.rows_since_fired[DEAD] = 100
    return sae, optimiser


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_dead_latents_take_rows_of_the_data_and_the_others_stay(config: SAEConfig) -> None:
    x = data()
    sae, optimiser = trained_a_little(config, x)
    before = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    bias = sae.decode_scaled(torch.zeros(12)).detach()
    live = [latent for latent in range(12) if latent not in DEAD]
    rows, biases, decoder = sae.by_latent(lambda parameter: parameter.data)
    norm = sum(float(rows[latent].norm()) for latent in live) / len(live)

    assert resample_dead(sae, optimiser, x, torch.Generator().manual_seed(3)) == 3

    directions = [(h - bias) / (h - bias).norm() for h in sae.scaled(x)]
    taken = []
    for latent in DEAD:
        distances = [float((decoder[latent] - direction).norm()) for direction in directions]
        taken.append(min(range(len(x)), key=lambda row: distances[row]))
        assert min(distances) < 1e-6
        torch.testing.assert_close(rows[latent], 0.2 * norm * decoder[latent])
        assert biases[latent] == 0
    assert len(set(taken)) == 3
    assert not sae.rows_since_fired.any()
    for moment in ("exp_avg", "exp_avg_sq"):
        for name in (0, 1, 2):
            of_latents = sae.by_latent(lambda parameter, moment=moment: optimiser.state[parameter][moment])[name]
            assert not of_latents[DEAD].any() and of_latents[live].any()
    again, _ = trained_a_little(config, x)
    again.load_state_dict(before)
    for now, then in zip((rows, biases, decoder), again.by_latent(lambda parameter: parameter.data), strict=True):
        assert torch.equal(now[live], then[live])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_losses_are_those_of_each_row(config: SAEConfig) -> None:
    x = data()
    sae, _ = trained_a_little(config, x)
    sae.requires_grad_(False)
    expected = [float(sae.scale) ** 2 * float((row - sae(row)).square().sum()) for row in x]
    assert row_losses(sae, x).tolist() == pytest.approx(expected, rel=1e-4)


def test_rows_are_drawn_by_the_square_of_their_loss() -> None:
    x = data(4)
    sae, optimiser = trained_a_little(TOPK, x)
    saved = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    directions = torch.nn.functional.normalize(sae.scaled(x) - sae.decode_scaled(torch.zeros(12)), dim=1)
    weights = row_losses(sae, x).square()
    counts = torch.zeros(4)
    for seed in range(600):
        sae.load_state_dict(saved)
        sae.rows_since_fired[:] = 0
        sae.rows_since_fired[4] = 100
        assert resample_dead(sae, optimiser, x, torch.Generator().manual_seed(seed)) == 1
        counts[int((directions @ sae.decoder_weight[4]).argmax())] += 1
    expected = 600 * weights / weights.sum()
    assert (counts - expected).abs().max() < 4 * (600 * 0.25) ** 0.5
    assert expected.max() > 2 * expected.min()


def test_all_stay_dead_where_none_lives_or_nothing_is_left_over() -> None:
    x = data()
    sae, optimiser = trained_a_little(TOPK, x)
    sae.rows_since_fired[:] = 100
    assert resample_dead(sae, optimiser, x, torch.Generator()) == 0
    sae, optimiser = trained_a_little(TOPK, x)
    mean = (sae.decode(torch.zeros(12))).expand(5, 6)
    losses = row_losses(sae, mean)
    assert resample_dead(sae, optimiser, mean, torch.Generator()) == min(3, int((losses > 0).sum()))


@given(st.integers(1, 1000), st.integers(0, 10))
def test_resampling_is_spread_over_training(n_steps: int, resamplings: int) -> None:
    steps = resampling_steps(n_steps, resamplings)
    assert len(steps) <= resamplings and all(0 < step < n_steps for step in steps)
    if n_steps > 2 * resamplings:
        assert len(steps) == resamplings


def test_three_times_are_the_quarters() -> None:
    assert resampling_steps(400, 3) == {100, 200, 300}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_training_counts_what_it_resamples(config: SAEConfig) -> None:
    """Large positive rows kill the latents that point away; one seed gives one result."""
    x = data(200) + 5
    config = dataclasses.replace(config, d_latents=40, centre=False, resamplings=2)
    training = TrainingConfig(lr=3e-2, batch_size=50, epochs=12)
    one, two = (train(config, training, x, seed=4) for _ in range(2))
    assert [epoch.resampled > 0 for epoch in one.history] == [epoch in (3, 7) for epoch in range(12)]
    assert one.history == two.history
    assert all(map(torch.equal, one.sae.state_dict().values(), two.sae.state_dict().values()))
    without = train(dataclasses.replace(config, resamplings=0), training, x, seed=4)
    assert not any(epoch.resampled for epoch in without.history)
    assert without.history[:3] == [epoch._replace(resampled=0) for epoch in one.history[:3]]
