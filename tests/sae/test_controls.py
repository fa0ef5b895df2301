"""Principal components and control latents."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.matching import lowest_correlation, match_controls
from sae.principal_components import principal_components

X = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(
    torch.tensor([5.0, 3, 2, 1, 0.5, 0.1])
) + torch.tensor([1000.0, -1000, 0, 5, 5, 5])


def test_components_are_those_of_a_plain_decomposition() -> None:
    found = principal_components([X], 4)
    centred = (X.double() - X.double().mean(0)).numpy()
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.variance, singular[:4] ** 2 / 199, rtol=1e-9)
    cosines = np.abs((found.components.numpy() * rows[:4]).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-9)
    assert found.total_variance == pytest.approx((singular**2).sum() / 199)
    projection = found.project(X)
    np.testing.assert_allclose(projection.var(0), found.variance, rtol=1e-9)
    np.testing.assert_allclose(projection.mean(0), 0, atol=1e-8)


def test_signs_are_fixed() -> None:
    components = principal_components([X], 6).components
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()
    torch.testing.assert_close(principal_components([-X], 6).components, components)


@settings(deadline=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=5))
def test_chunks_do_not_matter(sizes: list[int]) -> None:
    x = torch.cat([X, X])[: sum(sizes) + 20]
    sizes = [*sizes, len(x) - sum(sizes)] if sum(sizes) <= len(x) else [len(x)]
    whole, cut = principal_components([x], 3), principal_components(x.split(sizes), 3)
    torch.testing.assert_close(cut.components, whole.components, atol=1e-9, rtol=0)
    torch.testing.assert_close(cut.variance, whole.variance)


def test_impossible_components_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two rows, not 1"):
        principal_components([X[:1]], 2)
    with pytest.raises(ValueError, match="between 1 and 6, not 7"):
        principal_components([X], 7)


FREQUENCY = np.array([0.5, 0.5, 0.1, 0.1, 0.0, 0.5, 0.11, 0.45])
RMS = np.array([2.0, 2.0, 1.0, 1.0, 0.0, 2.1, 1.0, 2.0])
R = np.array([0.9, 0.8, -0.7, 0.01, np.nan, -0.02, 0.05, 0.03])


def test_controls_match_frequency_and_size_and_avoid_the_signal() -> None:
    ((first, second),) = match_controls([0, 2], frequency=FREQUENCY, rms=RMS, r=R, max_abs_r=0.1)
    assert (first.target, first.control, second.target, second.control) == (0, 5, 2, 3)
    assert first.distance == pytest.approx(np.log(2.1 / 2.0))
    assert second.distance == 0


def test_no_control_serves_twice() -> None:
    sets = match_controls([0, 2], frequency=FREQUENCY, rms=RMS, r=R, max_abs_r=0.1, n_sets=2)
    assert [[match.control for match in matches] for matches in sets] == [[5, 3], [7, 6]]
    ((match,),) = match_controls([5], frequency=FREQUENCY, rms=RMS, r=R, max_abs_r=0.1)
    assert match.control == 7  # a target is no control, not even its own
    with pytest.raises(ValueError, match="3 x 2 control latents were asked for, but only 4"):
        match_controls([0, 2], frequency=FREQUENCY, rms=RMS, r=R, max_abs_r=0.1, n_sets=3)
    with pytest.raises(ValueError, match=r"target latents \[4\] never fire"):
        match_controls([4], frequency=FREQUENCY, rms=RMS, r=R, max_abs_r=0.1)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 3))
def test_each_set_is_the_best_there_is(seed: int, n_targets: int, n_sets: int) -> None:
    rng = np.random.default_rng(seed)
    frequency, rms, r = rng.uniform(0.01, 1, 16), rng.uniform(0.1, 9, 16), rng.uniform(-0.2, 0.2, 16)
    r[:n_targets] = 0.9
    r[n_targets : n_targets + 12] *= 0.4
    targets = list(range(n_targets))
    sets = match_controls(targets, frequency=frequency, rms=rms, r=r, max_abs_r=0.1, n_sets=n_sets)
    controls = [match.control for matches in sets for match in matches]
    assert len(set(controls)) == n_sets * n_targets and not set(controls) & set(targets)
    assert (np.abs(r[controls]) <= 0.1).all()
    assert [[match.target for match in matches] for matches in sets] == [targets] * n_sets
    totals = [sum(match.distance for match in matches) for matches in sets]
    assert totals == sorted(totals)


def test_lowest_correlation() -> None:
    live = FREQUENCY > 0
    assert lowest_correlation(R, live) == [3]
    assert lowest_correlation(R, live, 3) == [3, 5, 7]
    assert lowest_correlation(R, np.arange(8) > 4, 1) == [5]
    assert lowest_correlation(np.zeros(4), np.ones(4, dtype=bool), 2) == [0, 1]
    with pytest.raises(ValueError, match="8 control latents were asked for, but only 7"):
        lowest_correlation(R, live, 8)
