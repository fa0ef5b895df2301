"""Centred kernel alignment against its definition by kernels, and what leaves it as it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group

from sae.cka import PairedCka

Floats = NDArray[np.float64]


def by_kernels(x: Floats, y: Floats) -> float:
    """Hilbert-Schmidt independence criterion of linear kernels, normalised."""
    centring = np.eye(len(x)) - 1 / len(x)
    k, m = (centring @ z @ z.T @ centring for z in (x, y))
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def paired_cka(x: Floats, y: Floats) -> Floats:
    """Of every rollout's activations [R, T, d] with every rollout's signals [R, T, K, S], [R, R, K]."""
    signals = PairedCka(list(y))
    return np.stack([signals.of(one) for one in x])


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 30]))
def test_every_pair_against_the_definition(seed: int, width: int) -> None:
    """Wider than long, and longer than wide."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((3, 10, width)) + 5, rng.standard_normal((3, 10, 2, 4)) - 2
    pairs = paired_cka(x, y)
    for i, j, k in np.ndindex(pairs.shape):
        assert pairs[i, j, k] == pytest.approx(by_kernels(x[i], y[j, :, k]))


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-1e3, 1e3))
def test_rotation_scale_and_offset_do_not_matter(seed: int, scale: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 12, 5)), rng.standard_normal((2, 12, 1, 4))
    turned = x @ ortho_group.rvs(5, random_state=rng) * scale + offset
    np.testing.assert_allclose(paired_cka(turned, y), paired_cka(x, y), rtol=1e-6)
    own = paired_cka(x, turned[:, :, None])[..., 0].diagonal()
    np.testing.assert_allclose(own, 1)


def test_what_does_not_vary_has_none() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 8, 4)), rng.standard_normal((3, 8, 2, 3))
    x[0], y[1, :, 1] = 0.1, 0.3
    defined = np.ones((3, 3, 2), dtype=bool)
    defined[0] = False
    defined[:, 1, 1] = False
    np.testing.assert_array_equal(np.isfinite(paired_cka(x, y)), defined)


def test_how_many_columns_are_taken_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 8, 4)), rng.standard_normal((3, 8, 2, 3))
    at_once = paired_cka(x, y)
    monkeypatch.setattr("sae.cka.CHUNK", 1)
    np.testing.assert_allclose(paired_cka(x, y), at_once)
