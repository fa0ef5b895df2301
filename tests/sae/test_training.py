"""Training: every row once an epoch, one seed one result, and it learns."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.architectures import build
from sae.config import SAEConfig
from sae.training import TrainingConfig, epoch_batches, train

RELU = SAEConfig("relu", 16, 32, l1=1e-4)
TOPK = SAEConfig("topk", 16, 32, k=4, centre=True, dead_after=300)


def features(n: int = 1000) -> torch.Tensor:
    """Sums of a few of 12 sparse directions in 16 dimensions, off centre [n, 16]."""
    g = torch.Generator().manual_seed(7)
    codes = torch.relu(torch.randn(n, 12, generator=g) - 1)
    return codes @ torch.randn(12, 16, generator=g) + 2


@given(st.integers(1, 300), st.integers(1, 70), st.integers(0, 2**31))
def test_an_epoch_visits_each_row_once(n: int, batch_size: int, seed: int) -> None:
    batches = epoch_batches(n, batch_size, torch.Generator().manual_seed(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
    assert len(batches) == math.ceil(n / batch_size)


def test_epochs_differ_in_order() -> None:
    g = torch.Generator().manual_seed(0)
    first, second = (torch.cat(epoch_batches(100, 9, g)) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("config", [RELU, TOPK], ids=["relu", "topk"])
def test_same_seed_same_weights(config: SAEConfig) -> None:
    x = features(300)
    training = TrainingConfig(lr=1e-3, epochs=3, batch_size=64)
    global_state = torch.get_rng_state()
    one, two, other = (train(config, training, x, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), global_state)
    assert one.history == two.history
    state, again, different = (trained.sae.state_dict() for trained in (one, two, other))
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert any(not torch.equal(state[name], different[name]) for name in state)


@pytest.mark.parametrize("config", [RELU, TOPK], ids=["relu", "topk"])
def test_training_explains_the_data(config: SAEConfig) -> None:
    x = features()
    trained = train(config, TrainingConfig(lr=3e-3, epochs=25, batch_size=100), x, seed=0)
    residual = (x - trained.sae(x)).square().sum() / (x - x.mean(0)).square().sum()
    assert float(residual) < 0.1
    assert trained.history[-1].loss < 0.3 * trained.history[0].loss
    assert [epoch.step for epoch in trained.history] == list(range(10, 260, 10))
    if config.k is not None:
        assert trained.history[-1].l0 <= config.k
        torch.testing.assert_close(trained.sae.decoder_weight.norm(dim=1), torch.ones(32))


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 60), st.integers(1, 25))
def test_history_is_the_mean_over_rows(n: int, batch_size: int) -> None:
    """With a learning rate too small to matter, an epoch's terms are those of the whole data at once."""
    x = features(n)
    trained = train(RELU, TrainingConfig(lr=1e-30, epochs=1, batch_size=batch_size), x, seed=2)
    sae = build(RELU, torch.Generator().manual_seed(2))
    sae.fit_scaling(x)
    expected = sae.loss(sae.scaled(x))
    assert trained.history[0][1:-1] == pytest.approx([term.item() for term in expected], rel=1e-4)


def test_auxk_revives_dead_latents() -> None:
    """Data off centre kill most latents of a TopK autoencoder; AuxK brings some back, and they explain."""
    g = torch.Generator().manual_seed(7)
    x = torch.relu(torch.randn(2000, 60, generator=g) - 2) @ torch.randn(60, 32, generator=g) + 2
    alive, error = {}, {}
    for weight in (0.0, 1 / 32):
        config = SAEConfig("topk", 32, 128, k=4, dead_after=1000, aux_weight=weight)
        sae = train(config, TrainingConfig(lr=2e-3, epochs=25, batch_size=100), x, seed=0).sae
        alive[weight] = int((sae.encode(x) > 0).any(0).sum())
        error[weight] = float((x - sae(x)).square().sum())
    assert alive[1 / 32] > 1.1 * alive[0.0]
    assert error[1 / 32] < error[0.0]


def test_on_step_sees_every_step() -> None:
    seen: list[tuple[int, int]] = []
    train(
        RELU,
        TrainingConfig(epochs=2, batch_size=40),
        features(100),
        seed=0,
        on_step=lambda step, n: seen.append((step, n)),
    )
    assert seen == [(step, 6) for step in range(1, 7)]


def test_divergence_is_reported() -> None:
    with pytest.raises(ValueError, match="the loss diverged by step"):
        train(RELU, TrainingConfig(lr=1e30, epochs=3, batch_size=10), features(100), seed=0)


@pytest.mark.parametrize("options", [{"lr": 0.0}, {"lr": math.nan}, {"batch_size": 0}, {"epochs": 0}])
def test_bad_training_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TrainingConfig(**options)  # type: ignore[arg-type]
