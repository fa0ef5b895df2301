"""The published numbers of the functional welfare axis: complete, in range, and as they were printed."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from jobs.published import curve, headlines
from jobs.published.importing import PUBLICATIONS, import_published
from tdlens.record import Record
from tdlens.rows import rows
from tests.published_doses import EVALUATIONS, VECTORS, dose_curves

STUDY, ALPHAS = "welfare_axis", [-4, -2, 0, 2, 4]
RUNS = {"4B-Instruct", "swap", "Base", "Base shuffle", "8B", "GPT-OSS", "SFT", "REINFORCE", "FFT", "SFT-FFT"}
CONTROLLED = {
    "sentiment": RUNS - {"Base shuffle", "FFT", "SFT-FFT"},
    "backtracking": {"4B-Instruct"},
    "mmlu": {"4B-Instruct", "Base"},
    "simpleqa": {"4B-Instruct"},
    "refusal": {"4B-Instruct", "8B"},
}
"""Runs whose untrained vectors' curves are known."""


def doses(model: str, evaluation: str, vector: str, source: str = "trained") -> pd.DataFrame:
    table = dose_curves()
    mine = table[(table.model == model) & (table.evaluation == evaluation)]
    return mine[(mine.vector == vector) & (mine.source == source)]


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_each_curve_has_all_doses(evaluation: str) -> None:
    table = dose_curves()
    mine = table[table.evaluation == evaluation]
    groups = mine.groupby(["source", "model", "vector"]).alpha.apply(list)
    assert all(alphas == ALPHAS for alphas in groups)
    known = RUNS - {"Base shuffle"} if evaluation == "backtracking" else RUNS
    expected = {("trained", run) for run in known}
    expected |= {("untrained", run) for run in CONTROLLED[evaluation]}
    assert {(source, model) for source, model, _ in groups.index} == expected
    assert len(groups) == len(VECTORS) * len(expected)


def test_values_are_in_range_and_missing_only_where_nothing_was_left() -> None:
    table = dose_curves()
    gone = table[table.value.isna()]
    assert set(zip(gone.model, gone.vector, gone.alpha, gone.flagged, strict=True)) == {
        ("GPT-OSS", "mold", 4.0, True),
        ("SFT-FFT", "gold", -4.0, True),
    }
    rest = table.dropna(subset="value")
    sentiment = rest.evaluation == "sentiment"
    assert rest[sentiment].value.between(-5, 5).all() and rest[~sentiment].value.between(0, 1).all()
    assert (rest[sentiment].value.abs() > 1).any()
    backtracking = table[table.evaluation == "backtracking"]
    assert not table[table.flagged].index.difference(backtracking.index).size
    known = backtracking.dropna(subset="incoherent")
    # where it is known and above 90 %, the point is flagged or there is hardly any doubt left in it
    assert known[known.flagged].incoherent.gt(0.9).all()
    assert set(zip(known.vector, known.alpha, strict=True)) == {("mold", 4.0), ("gold", -4.0)}


def test_without_a_dose_both_vectors_and_both_sources_do_the_same() -> None:
    table = dose_curves()
    none = table[table.alpha == 0].groupby(["evaluation", "model"]).value
    spread = none.max() - none.min()
    sentiment = spread.index.get_level_values("evaluation") == "sentiment"
    assert spread[sentiment].max() < 0.1 and spread[~sentiment].max() < 0.012


@pytest.mark.parametrize(
    ("model", "evaluation", "vector", "source", "values"),
    [
        ("4B-Instruct", "sentiment", "mold", "trained", [2.31, 2.06, 1.46, 0.93, 0.64]),
        ("4B-Instruct", "sentiment", "gold", "trained", [-0.60, 0.29, 1.39, 3.66, 4.73]),
        ("SFT", "sentiment", "mold", "untrained", [-0.17, 1.51, 1.46, 2.25, 3.19]),
        ("8B", "sentiment", "gold", "trained", [-2.93, 0.57, 0.71, 1.98, 1.70]),
        ("4B-Instruct", "backtracking", "gold", "untrained", [0.121, 0.061, 0.026, 0.104, 0.706]),
        ("SFT", "backtracking", "mold", "trained", [0.002, 0.001, 0.030, 0.928, 0.714]),
        ("Base", "mmlu", "mold", "untrained", [0.837, 0.873, 0.552, 0.142, 0.082]),
        ("GPT-OSS", "simpleqa", "gold", "trained", [0.069, 0.002, 0.134, 0.631, 0.952]),
        ("SFT-FFT", "refusal", "gold", "trained", [0.171, 0.869, 0.606, 0.513, 0.344]),
        ("8B", "refusal", "mold", "untrained", [0.566, 0.510, 0.578, 0.684, 0.829]),
    ],
)
def test_curves_as_they_were_printed(
    model: str, evaluation: str, vector: str, source: str, values: list[float]
) -> None:
    assert doses(model, evaluation, vector, source).value.to_list() == values


def test_flags_and_incoherence_as_they_were_printed() -> None:
    gold, mold = doses("4B-Instruct", "backtracking", "gold"), doses("SFT", "backtracking", "mold")
    assert gold.flagged.to_list() == [True] + [False] * 4 and gold.incoherent.iloc[0] == 0.987
    assert mold.flagged.to_list() == [False] * 3 + [True] * 2 and mold.incoherent.iloc[-1] == 0.997


def test_the_pattern_of_the_primary_run_is_a_cross() -> None:
    """What the study claims: opposite slopes of the vectors, and of backtracking and refusal the other way."""
    for evaluation, sign in zip(EVALUATIONS, (1, -1, 1, 1, -1), strict=True):
        for vector, way in (("gold", 1), ("mold", -1)):
            mine = doses("4B-Instruct", evaluation, vector)
            mine = mine[~mine.flagged]
            slope = np.polyfit(mine.alpha, mine.value, 1)[0]
            assert np.sign(slope) == sign * way, (evaluation, vector)


def test_the_parts_agree_with_the_whole() -> None:
    parts = curve(STUDY, "dose_subsets")
    assert parts.groupby("variant").alpha.apply(list).map(lambda alphas: alphas == ALPHAS).all()
    kinds = parts[parts.variant.str.startswith("refusal/")]
    assert len(kinds.variant.unique()) == 3
    whole = curve(STUDY, "dose_refusal")
    whole = whole[whole.variant == "4B-Instruct/trained"].set_index("alpha")
    mean = kinds.groupby("alpha")[["mold", "gold"]].mean()
    np.testing.assert_allclose(mean, whole[["mold", "gold"]], atol=0.006)  # equally many of each, few were incoherent


def test_vectors_geometry_and_their_headlines_agree() -> None:
    values = {name: one.value for name, one in headlines(STUDY).items()}
    geometry = curve(STUDY, "geometry").set_index("variant")
    assert set(geometry.index) == RUNS
    assert (geometry.cosine_min < geometry.cosine_mean).all() and geometry.cosine_min.between(-1, -0.8).all()
    assert tuple(geometry.loc["4B-Instruct"]) == (35, values["cosine_least"], values["cosine_mean"])
    vectors = curve(STUDY, "vectors").set_index("variant")
    trained = {f"{run}/{vector}/trained" for run in RUNS for vector in VECTORS}
    assert set(vectors.index) - trained == {f"4B-Instruct/{vector}/untrained" for vector in VECTORS}
    assert trained < set(vectors.index) and (vectors.norm > 0).all()
    for vector in VECTORS:
        assert values[f"norm_{vector}"] == vectors.norm[f"4B-Instruct/{vector}/trained"]
    tracking = curve(STUDY, "tracking").set_index("variant")
    for row in rows(tracking.reset_index()):
        run, vector = row.variant.split("/")[1:]
        assert row.block == vectors.block[f"{run}/{vector}/trained"]
    for vector in VECTORS:
        row = tracking.loc[f"maze finals/4B-Instruct/{vector}"]
        assert (values[f"finals_d_{vector}"], values[f"finals_d_{vector}_naive"]) == (row.trained, row.naive)


def test_emotions_are_in_their_order_and_agree_with_the_headlines() -> None:
    values = {name: one.value for name, one in headlines(STUDY).items()}
    emotions = curve(STUDY, "emotions")
    named = emotions.variant.str.split("/", expand=True)
    for concept in VECTORS:
        mine = emotions[named[0] == concept]
        assert mine.cosine.is_monotonic_decreasing
        assert mine["rank"].to_list() == sorted(mine["rank"], key=lambda rank: (rank < 0, rank))
        assert ((mine["rank"] > 0) == (mine.cosine > 0)).all()
    scatter = curve(STUDY, "emotion_scatter").set_index("variant")
    assert (scatter.r["4B-Instruct"], scatter.r["Base"]) == (values["emotions_r"], values["emotions_r_base"])
    pc1 = curve(STUDY, "emotion_pc1").set_index("variant")
    assert (pc1.mold < 0).all() and (pc1.gold > 0).all()
    assert (values["pc1_mold"], values["pc1_gold"]) == tuple(pc1.loc["4B-Instruct/trained", ["mold", "gold"]])


@pytest.mark.parametrize("evaluation", ["sentiment", "mmlu", "backtracking", "refusal"])
def test_headlines_of_steering_are_the_ends_of_the_curves(evaluation: str) -> None:
    values = {name: one.value for name, one in headlines(STUDY).items()}
    named = {name: value for name, value in values.items() if name.startswith(f"{evaluation}_")}
    assert named
    for name, value in named.items():
        if name == "backtracking_untrained_gold":
            assert value == doses("4B-Instruct", evaluation, "gold", "untrained").value.iloc[-1]
            continue
        vector, end = name.split("_")[1:]
        assert value == doses("4B-Instruct", evaluation, vector).value.iloc[0 if end == "low" else -1]


def test_it_is_imported_under_its_name(record: Record) -> None:
    assert import_published(record, "han2026") and not import_published(record, "han2026")
    sql = """
        SELECT source, x, y FROM v_published_point
        WHERE study = 'han2026' AND figure = 'dose_mmlu' AND series = 'gold/Base/trained' ORDER BY x
    """
    points = record.query(sql)
    assert set(points.source) == {PUBLICATIONS["han2026"].citation} and "2605.30232" in points.source[0]
    assert points.x.to_list() == ALPHAS and points.y.to_list() == [0.142, 0.390, 0.552, 0.837, 0.948]


def test_where_it_comes_from_is_said() -> None:
    source = (files("jobs.published") / STUDY / "SOURCE.md").read_text(encoding="utf-8")
    assert all(part in source for part in ("2605.30232", "https://functionalwelfare.com", "28f1ad5"))
    described = {
        name.strip() for line in source.splitlines() if line.startswith("| ") for name in line.split("|")[1].split(",")
    }
    assert described >= RUNS
