"""What computes with the few latents that fire agrees with what computes with all."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sae.architectures.topk
from sae.architectures import build
from sae.architectures.topk import TopKAutoencoder, keep_largest
from sae.config import SAEConfig
from sae.sparse_codes import at_least_the_kth, decode, encode, largest, sums_by_latent

CONFIG = SAEConfig("topk", 8, 120, k=3, centre=True, dead_after=50, aux_k=5, aux_weight=0.5)
CASES = {
    "as it comes": CONFIG,
    "summed": dataclasses.replace(CONFIG, mse_reduction="sum"),
    "signed": dataclasses.replace(CONFIG, signed=True),
    "independent rows": dataclasses.replace(CONFIG, transpose_init=False),
    "auxiliary latents dense": dataclasses.replace(CONFIG, aux_k=30),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def autoencoder(config: SAEConfig) -> TopKAutoencoder:
    """With half of its latents dead."""
    built = build(config, generator())
    assert isinstance(built, TopKAutoencoder)
    with torch.no_grad():
        built.decoder_bias.normal_(generator=generator(5))
        built.encoder_bias.normal_(generator=generator(6))
        built.encoder_bias[:60] -= 10
    built.rows_since_fired[:60] = 1000
    return built


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_loss_and_gradients_are_the_dense_ones(config: SAEConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    h = torch.randn(40, 8, generator=generator(1))
    sparse, dense = autoencoder(config), autoencoder(config)
    terms = sparse.loss(h)
    terms.loss.backward()
    monkeypatch.setattr(sae.architectures.topk, "FEW", math.inf)
    expected = dense.loss(h)
    expected.loss.backward()
    assert expected.loss > expected.mse  # else the auxiliary loss was not at work
    torch.testing.assert_close(terms, expected)
    assert torch.equal(sparse.rows_since_fired, dense.rows_since_fired)
    for one, other in zip(sparse.parameters(), dense.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and other.grad.any()
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 6), st.integers(1, 9), st.integers(0, 2**31), st.booleans())
def test_the_k_largest(b: int, k: int, seed: int, ties: bool) -> None:
    values = torch.randn(b, 9, generator=generator(seed))
    if ties:
        values = values.round()
    expected = values.sort(dim=1, descending=True).values[:, :k]
    found = values.gather(1, largest(values, k)).sort(dim=1, descending=True).values
    assert torch.equal(found, expected)
    assert all(len(set(row)) == k for row in largest(values, k).tolist())
    kept = keep_largest(values + 10, k)
    assert ((kept > 0).sum(1) == k).all()
    assert torch.equal(kept.sort(dim=1, descending=True).values[:, :k], expected + 10)


def test_ties_and_nan_are_left_to_topk() -> None:
    assert at_least_the_kth(torch.tensor([[1.0, 1.0, 0.0], [3.0, 2.0, 1.0]]), 1) is None
    assert at_least_the_kth(torch.tensor([[math.nan, 1.0, 0.0], [2.0, 2.0, 1.0]]), 1) is None
    assert keep_largest(torch.tensor([[math.nan, 1.0, 0.0]]), 2).isnan().any()
    kept = at_least_the_kth(torch.tensor([[1.0, 5.0, 0.0], [3.0, 2.0, 1.0]]), 1)
    assert kept is not None and kept.tolist() == [[False, True, False], [True, False, False]]


def test_products() -> None:
    g = generator(3)
    b, k, m, d = 7, 3, 11, 4
    h, encoder, bias, decoder = (torch.randn(*shape, generator=g) for shape in ((b, d), (m, d), (m,), (m, d)))
    activations = h @ encoder.T + bias
    indices = torch.stack([torch.randperm(m, generator=g)[:k] for _ in range(b)])
    values = encode(h, encoder, bias, activations, indices)
    for row in range(b):
        for place in range(k):
            expected = h[row] @ encoder[indices[row, place]] + bias[indices[row, place]]
            torch.testing.assert_close(values[row, place], expected)
    z = torch.zeros(b, m).scatter(1, indices, values)
    torch.testing.assert_close(decode(values, indices, decoder), z @ decoder)
    torch.testing.assert_close(sums_by_latent(values, indices, h, encoder), z.T @ h)
