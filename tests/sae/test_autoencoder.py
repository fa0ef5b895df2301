"""Architectures: encoding, scaling and losses against plain formulas."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sae.architectures import ARCHITECTURES, build
from sae.architectures.topk import TopKAutoencoder, keep_largest
from sae.config import SAEConfig

CONFIGS = {
    "relu": SAEConfig("relu", 6, 10, l1=1e-2),
    "relu_centred": SAEConfig("relu", 6, 10, l1=1e-2, centre=True),
    "relu_unscaled": SAEConfig("relu", 6, 10, l1=1e-2, scale=False),
    "topk": SAEConfig("topk", 6, 10, k=3, centre=True),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(n: int = 50, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 6, generator=generator(seed)) * 3 + 5


def test_every_architecture_is_tested() -> None:
    assert {config.architecture for config in CONFIGS.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_ablation_moves_the_reconstruction_by_minus_z_times_row(config: SAEConfig) -> None:
    sae = build(config, generator()).double()
    x = data().double()
    sae.fit_scaling(x)
    z = sae.encode(x)
    assert (z >= 0).all() and (z > 0).any()
    latent = int(z.sum(0).argmax())
    ablated = z.clone()
    ablated[:, latent] = 0
    expected = -z[:, latent, None] * sae.decoder_rows()[latent]
    torch.testing.assert_close(sae.decode(ablated) - sae.decode(z), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_leading_shape_is_free(config: SAEConfig) -> None:
    sae = build(config, generator())
    x = data(24)
    sae.fit_scaling(x)
    torch.testing.assert_close(sae(x.view(2, 3, 4, 6)).view(24, 6), sae(x))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_weights_come_from_the_generator_alone(config: SAEConfig) -> None:
    state = torch.get_rng_state()
    one, two, other = (build(config, generator(seed)).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_scaling_is_sqrt_d_over_the_mean_norm() -> None:
    sae = build(CONFIGS["relu"], generator())
    x = data()
    sae.fit_scaling(x)
    torch.testing.assert_close(sae.scaled(x), math.sqrt(6) * x / x.norm(dim=1).mean())
    centred = build(CONFIGS["relu_centred"], generator())
    centred.fit_scaling(x)
    torch.testing.assert_close(centred.scaled(x).mean(0), torch.zeros(6), atol=1e-6, rtol=0)
    assert float(centred.scaled(x).norm(dim=1).mean()) == pytest.approx(math.sqrt(6), rel=1e-6)
    unscaled = build(CONFIGS["relu_unscaled"], generator())
    unscaled.fit_scaling(x)
    assert torch.equal(unscaled.scaled(x), x)


@pytest.mark.parametrize("factor", [0.01, 1000.0])
def test_latents_do_not_depend_on_the_unit_of_the_data(factor: float) -> None:
    x = data()
    one, two = (build(CONFIGS["relu"], generator()) for _ in range(2))
    one.fit_scaling(x)
    two.fit_scaling(factor * x)
    torch.testing.assert_close(two.encode(factor * x), one.encode(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_relu_loss_is_equation_3(squared: bool, reduction: str) -> None:
    config = SAEConfig("relu", 6, 10, l1=0.1, l1_squared=squared, mse_reduction=reduction)
    sae = build(config, generator())
    h = data(7)
    expected = 0.0
    weights = {name: tensor.double() for name, tensor in sae.state_dict().items()}
    for row in h.double():
        z = (weights["encoder.weight"] @ row + weights["encoder.bias"]).clamp_min(0)
        error = (row - weights["decoder.weight"] @ z - weights["decoder.bias"]) ** 2
        l1 = float(z.abs().sum())
        expected += float(error.mean() if reduction == "mean" else error.sum()) + 0.1 * (l1**2 if squared else l1)
    terms = sae.loss(h)
    assert terms.loss.item() == pytest.approx(expected / 7, rel=1e-5)
    assert float(terms.l0) == pytest.approx(float((sae.encode_scaled(h) > 0).sum()) / 7)


@pytest.mark.parametrize("config", [CONFIGS["relu"], CONFIGS["topk"]], ids=["relu", "topk"])
@pytest.mark.parametrize("transposed", [None, True, False])
def test_rows_start_alike_or_apart(config: SAEConfig, transposed: bool | None) -> None:
    sae = build(dataclasses.replace(config, transpose_init=transposed), generator())
    encoder, bias, decoder = sae.by_latent(lambda parameter: parameter.data)
    assert encoder.shape == decoder.shape == (10, 6) and bias.shape == (10,)
    alike = config.k is not None if transposed is None else transposed
    assert torch.equal(encoder, decoder) == alike
    assert torch.equal(decoder, sae.decoder_weight)
    if config.k is not None:
        torch.testing.assert_close(encoder.norm(dim=1), torch.ones(10))


def test_signed_latents_are_the_largest_whatever_their_sign() -> None:
    sae = build(SAEConfig("topk", 6, 10, k=9, signed=True), generator())
    assert isinstance(sae, TopKAutoencoder)
    h = data(20)
    z = sae.encode_scaled(h).detach()
    assert (z < 0).any()
    for row, latents in zip(h, z, strict=True):
        values = [float(weights @ row) for weights in sae.encoder.detach()]
        lowest = min(range(10), key=lambda latent: values[latent])
        values[lowest] = 0.0
        assert latents.tolist() == pytest.approx(values, abs=1e-4)
    terms = sae.loss(h)
    assert float(terms.l1) == pytest.approx(float(z.abs().sum(1).mean()), rel=1e-5)
    assert float(terms.l0) == 9


@given(st.integers(1, 8), st.integers(0, 2**31))
def test_topk_keeps_the_k_largest(k: int, seed: int) -> None:
    values = torch.randn(5, 8, generator=generator(seed))
    kept = keep_largest(values, k)
    for row, kept_row in zip(values, kept, strict=True):
        assert set(kept_row[kept_row != 0].tolist()) == set(sorted(row.tolist())[-k:])


def dead_case() -> tuple[TopKAutoencoder, torch.Tensor, torch.Tensor]:
    sae = build(SAEConfig("topk", 6, 12, k=2, aux_k=3, aux_weight=0.5), generator())
    assert isinstance(sae, TopKAutoencoder)
    dead = torch.arange(12) >= 6
    with torch.no_grad():
        sae.encoder_bias[~dead] += 50  # the live ones always win
        sae.rows_since_fired[dead] = 10**6
    return sae, dead, data(20)


def test_auxk_gradient_reaches_dead_encoder_rows_and_is_right() -> None:
    sae, dead, h = dead_case()
    sae.loss(h).loss.backward()
    z = sae.encode_scaled(h).detach()
    assert not z[:, dead].any()
    with torch.no_grad():
        residual = h - sae.decode_scaled(z)

    # A plain second implementation, with loops and the biases and rows of dead latents only.
    encoder = sae.encoder.detach().clone().requires_grad_()
    bias = sae.encoder_bias.detach().clone().requires_grad_()
    left = torch.zeros(())
    for row, rest in zip(h, residual, strict=True):
        values = torch.stack(
            [torch.relu(encoder[j] @ (row - sae.decoder_bias.detach()) + bias[j]) for j in range(6, 12)]
        )
        best = values.detach().argsort(descending=True)[:3]
        model = sum((values[j] * sae.decoder.detach()[6 + j] for j in best.tolist()), torch.zeros(6))
        left = left + (rest - model).square().sum()
    (0.5 * left / residual.square().sum()).backward()
    assert sae.encoder.grad is not None and sae.encoder_bias.grad is not None
    assert encoder.grad is not None and bias.grad is not None
    assert encoder.grad[dead].abs().sum() > 0
    torch.testing.assert_close(sae.encoder.grad[dead], encoder.grad[dead], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sae.encoder_bias.grad[dead], bias.grad[dead], rtol=1e-4, atol=1e-6)


def test_auxk_leaves_live_encoder_rows_alone() -> None:
    with_aux, dead, h = dead_case()
    without, _, _ = dead_case()
    without.config = dataclasses.replace(without.config, aux_weight=0.0)
    for sae in (with_aux, without):
        sae.loss(h).loss.backward()
    assert with_aux.encoder.grad is not None and without.encoder.grad is not None
    torch.testing.assert_close(with_aux.encoder.grad[~dead], without.encoder.grad[~dead])
    assert not without.encoder.grad[dead].any()


def test_rows_since_fired_counts_rows() -> None:
    sae, dead, h = dead_case()
    sae.loss(h)
    sae.loss(h)
    assert (sae.rows_since_fired[dead] == 10**6 + 40).all()
    fired = (sae.encode_scaled(h) > 0).any(0)
    assert not sae.rows_since_fired[fired].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"architecture": "relu", "d_in": 4, "d_latents": 8, "l_1": 1.0}, "did you mean 'l1'"),
        ({"architecture": "relu", "d_in": 4}, "missing: d_latents"),
        ({"architecture": "relu", "d_in": 0, "d_latents": 8}, "d_in must be at least 1"),
        ({"architecture": "topk", "d_in": 4, "d_latents": 8, "k": 9}, "between 1 and d_latents"),
        ({"architecture": "relu", "d_in": 4, "d_latents": 8, "l1": math.nan}, "l1 must be finite"),
        ({"architecture": "relu", "d_in": 4, "d_latents": 8, "mse_reduction": "max"}, "mse_reduction"),
        ({"architecture": "topkk", "d_in": 4, "d_latents": 8}, "did you mean 'topk'"),
        ({"architecture": "relu", "d_in": 4, "d_latents": 8}, "needs the option l1"),
        ({"architecture": "relu", "d_in": 4, "d_latents": 8, "l1": 1.0, "k": 3}, "belongs to the topk"),
        ({"architecture": "topk", "d_in": 4, "d_latents": 8}, "needs the option k"),
        ({"architecture": "relu", "d_in": 4, "d_latents": 8, "l1": 1.0, "signed": True}, "belongs to the topk"),
        ({"architecture": "topk", "d_in": 4, "d_latents": 8, "k": 1, "transpose_init": 1}, "transpose_init must be"),
        ({"architecture": "topk", "d_in": 4, "d_latents": 8, "k": True}, "k must be"),
        ({"architecture": "topk", "d_in": 4, "d_latents": 8, "k": 1, "resamplings": -1}, "resamplings must be"),
        ({"architecture": "topk", "d_in": 4, "d_latents": 8, "k": 3, "l1": 1.0}, "belongs to the relu"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(SAEConfig.from_dict(options), generator())


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(3, 5), "expected activations of shape"),
        (torch.zeros(0, 6), "expected activations of shape"),
        (torch.full((3, 6), math.inf), "not finite"),
        (torch.zeros(3, 6), "every row is zero"),
    ],
)
def test_bad_data_is_refused(x: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(CONFIGS["relu"], generator()).fit_scaling(x)
