"""The published numbers are all there, are documented, and agree with each other."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import scipy.stats

from jobs.published import HEADLINES, curve, curve_names, headlines


@pytest.mark.parametrize(
    ("study", "n", "shortest"), [("td_in_llms", 13, 30), ("dqn_saes", 5, 1), ("mechrl", 13, 2), ("welfare_axis", 14, 2)]
)
def test_every_curve_loads_and_is_documented(study: str, n: int, shortest: int) -> None:
    source = (files("jobs.published") / study / "SOURCE.md").read_text(encoding="utf-8")
    names = curve_names(study)
    assert len(names) == n
    for name in names:
        assert f"`{name}`" in source
        assert len(curve(study, name)) >= shortest


def test_recomputed_numbers_are_not_called_the_papers() -> None:
    source = (files("jobs.published") / "dqn_saes" / "SOURCE.md").read_text(encoding="utf-8")
    assert "None of these numbers is printed in a paper" in source
    assert "https://github.com/ColemanDuPlessie/Simple-Chess-RL-SAE" in source and "5cb6e578" in source


def test_recomputed_numbers_agree_with_each_other() -> None:
    topk, agents = (curve("dqn_saes", name) for name in ("dqn_topk", "dqn_agents"))
    variance = agents.activation_variance.dropna().item()
    # both are rounded: the error's last digit is worth 2 % at most, and FVU's 5e-5
    np.testing.assert_allclose(topk.fvu, topk.mse / variance, rtol=0.02, atol=5e-5)
    assert (topk.fvu < topk.fvu_all).all() and (topk.agreement > topk.agreement_all).all()
    assert (topk.dead < topk.latents).all()
    plain = topk[topk.variant.isna()]
    assert plain.k.is_monotonic_increasing and plain.agreement.is_monotonic_increasing
    assert plain.fvu.is_monotonic_decreasing and plain.dead.is_monotonic_decreasing
    ends = agents[["mate", "time_out", "illegal", "blunder"]].iloc[0].sum()
    assert ends == pytest.approx(1, abs=0.005)


def test_live_latents_and_scores_agree_with_their_fit() -> None:
    population, fit = curve("dqn_saes", "pacman_population"), curve("dqn_saes", "pacman_fit").iloc[0]
    for name in ("live", "score"):
        assert (population[name].min(), population[name].max()) == (fit[f"{name}_min"], fit[f"{name}_max"])
    assert len(population) == 11 and fit.agents == 24
    free = fit.agents - 3
    assert fit.f == pytest.approx(fit.r_squared / 2 / (1 - fit.r_squared) * free, rel=0.01)
    assert fit.p == pytest.approx(scipy.stats.f.sf(fit.f, 2, free), abs=1e-4)


@pytest.mark.parametrize(("study", "name"), [("td_in_llms", "fig99"), ("no_study", "fig2_A_E_returns")])
def test_unknown_curve_names_those_there_are(study: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"no published curve '{name}'"):
        curve(study, name)


def test_headlines_agree_with_the_curves() -> None:
    values = {name: headline.value for name, headline in headlines("td_in_llms").items()}
    assert len(values) + len(headlines("mechrl")) + len(headlines("welfare_axis")) == len(HEADLINES)
    returns = curve("td_in_llms", "fig2_A_E_returns").iloc[7:]
    for name, column in {"70b": "A_70B_return", "8b": "A_8B_return", "td_lesion": "E_TDlesion"}.items():
        assert values[f"return_{name}"] == pytest.approx(returns[column].mean(), abs=1e-3)
    by_block = curve("td_in_llms", "fig2_C_D_G_H_maxcorr_by_block")
    peaks = {"q_value": "C_Q", "myopic_value": "C_myopic", "myopic_error": "D_myopic"}
    for name, column in peaks.items():
        assert values[f"max_r_{name}"] == pytest.approx(by_block[column].max(), abs=1e-3)
    assert by_block["D_Q"].idxmax() == 34
    assert values["max_r_td_error"] == pytest.approx(by_block["D_Q"].max(), abs=0.015)  # text and figure differ
    late = by_block[by_block["index"] >= 35].mean()
    columns = {
        "q_value_no_lesion": "G_no",
        "q_value": "G_TD",
        "td_error_no_lesion": "H_no",
        "td_error": "H_TD",
    }
    for name, column in columns.items():
        assert values[f"clamp_r_{name}"] == pytest.approx(late[column], abs=1e-3)
    live = curve("td_in_llms", "fig8_L0_by_block")["L0_two"]
    assert values["live_latents_max"] == live.max()
    assert values["live_latents_mean"] == pytest.approx(live.mean(), abs=0.05)
