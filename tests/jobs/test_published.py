"""The published numbers are all there, are documented, and agree with each other."""

from __future__ import annotations

from importlib.resources import files

import pytest

from jobs.published import HEADLINES, curve, curve_names, headlines


def test_every_curve_loads_and_is_documented() -> None:
    source = (files("jobs.published") / "td_in_llms" / "SOURCE.md").read_text(encoding="utf-8")
    names = curve_names("td_in_llms")
    assert len(names) == 13
    for name in names:
        assert f"`{name}`" in source
        assert len(curve("td_in_llms", name)) >= 30


@pytest.mark.parametrize(("study", "name"), [("td_in_llms", "fig99"), ("no_study", "fig2_A_E_returns")])
def test_unknown_curve_names_those_there_are(study: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"no published curve '{name}'"):
        curve(study, name)


def test_headlines_agree_with_the_curves() -> None:
    values = {name: headline.value for name, headline in headlines("td_in_llms").items()}
    assert len(values) == len(HEADLINES)
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
