"""Metrics against closed forms and against PyTorch on the whole data."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sae.architectures import build
from sae.config import SAEConfig
from sae.metrics import Metrics, StreamingMetrics, evaluate, rows_at_once

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 100
SAE = build(SAEConfig("relu", 4, 8, l1=1e-5), torch.Generator().manual_seed(1)).requires_grad_(False)
SAE.fit_scaling(X)


def measure(x: torch.Tensor, z: torch.Tensor, x_hat: torch.Tensor) -> Metrics:
    metrics = StreamingMetrics(x.shape[1], z.shape[1])
    metrics.update(x, z, x_hat)
    return metrics.result()


def test_identity_explains_all_and_the_mean_explains_nothing() -> None:
    z = torch.zeros(60, 3)
    identity = measure(X, z, X)
    assert (identity.explained_variance, identity.fvu, identity.mse) == (1.0, 0.0, 0.0)
    mean = measure(X, z, X.mean(0).expand_as(X))
    assert mean.explained_variance == pytest.approx(0, abs=1e-12)
    assert mean.mse == pytest.approx(float(X.var(0, correction=0).mean()), rel=1e-12)


def test_zero_is_worse_than_the_mean_although_it_explains_variance_about_zero() -> None:
    """The defect this guards against: variance about zero makes any model of off-centre data look perfect."""
    nearly = measure(X, torch.zeros(60, 3), X.mean() * torch.ones_like(X))
    assert nearly.explained_variance < 0
    zero = measure(X, torch.zeros(60, 3), torch.zeros_like(X))
    assert zero.explained_variance < -1000


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_fvu_of_known_error(sigma: float) -> None:
    """An error of exactly sigma on each feature: fvu = sigma^2 / mean variance."""
    signs = torch.ones(60, 4)
    signs[::2] = -1
    result = measure(X, torch.zeros(60, 3), X + sigma * signs)
    assert result.mse == pytest.approx(sigma**2, rel=1e-9)
    assert result.fvu == pytest.approx(sigma**2 / float(X.var(0, correction=0).mean()), rel=1e-9)


def test_latent_counts() -> None:
    z = torch.zeros(60, 5)
    z[:, 1] = 2.5  # fires always, constant
    z[:15, 2] = 4.0  # fires on a quarter
    z[:, 3] = torch.arange(1.0, 61.0)
    result = measure(X, z, X)
    assert (result.live, result.dead, result.non_constant) == (3, 2, 2)
    assert result.l0 == pytest.approx((60 + 15 + 60) / 60)
    np.testing.assert_allclose(result.frequency, [0, 1, 0.25, 1, 0])
    np.testing.assert_allclose(result.latent_mean, [0, 2.5, 1.0, 30.5, 0])
    np.testing.assert_allclose(result.latent_rms, [0, 2.5, 2.0, math.sqrt(61 * 121 / 6), 0])
    assert result.varies.tolist() == [False, False, True, True, False]


def test_agreement_with_torch_on_the_whole_data() -> None:
    result = evaluate(SAE, X.split(7))
    z = SAE.encode(X)
    x_hat = SAE(X).double()
    expected = float((X - x_hat).square().sum() / (X.var(0).sum() * 59))
    assert result.fvu == pytest.approx(expected, rel=1e-6)  # latents are float32
    assert result.l0 == pytest.approx(float((z > 0).float().sum(1).mean()), rel=1e-6)
    np.testing.assert_array_equal(result.varies, z.var(0).numpy() > 0)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_chunks_do_not_matter(sizes: list[int]) -> None:
    x = torch.cat([X, X, X])[: sum(sizes)]
    assume(len(x) > 0)
    whole, cut = evaluate(SAE, [x]), evaluate(SAE, x.split(sizes))
    for name, value in vars(whole).items():
        # One row varies about its mean by rounding alone, so relative agreement needs a floor.
        np.testing.assert_allclose(vars(cut)[name], value, rtol=1e-6, atol=1e-9, err_msg=name)


def test_scalars_are_the_single_numbers() -> None:
    scalars = evaluate(SAE, [X]).scalars()
    assert set(scalars) == {
        "n",
        "mse",
        "fvu",
        "explained_variance",
        "l0",
        "live",
        "dead",
        "non_constant",
    }


def test_no_rows_and_no_variation() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        evaluate(SAE, [])
    assert math.isnan(evaluate(SAE, [torch.ones(5, 4)]).explained_variance)


def test_metrics_do_not_depend_on_how_much_is_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    sae = build(SAEConfig("topk", d_in=8, d_latents=16, k=3), generator)
    x = torch.randn(50, 8, generator=generator)
    whole = evaluate(sae, [x])
    monkeypatch.setattr("sae.metrics.CHUNK", 7 * 16)
    assert [len(rows) for rows in rows_at_once(x, 16)] == [7] * 7 + [1]
    cut = evaluate(sae, [x])
    assert cut.scalars() == pytest.approx(whole.scalars())
    np.testing.assert_allclose(cut.latent_rms, whole.latent_rms, rtol=1e-6)
    np.testing.assert_array_equal(cut.varies, whole.varies)
