"""The published numbers of searches for attention heads agree with each other, and with what is called recomputed."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from jobs.published import curve, headlines

GPT2 = 12
"""Blocks, and heads of each."""
POLICIES = {"random": "random", "k1_none": "k1/none", "k5_none": "k5/none", "k5_induction": "k5/induction"}
POLICIES |= {"k5_ioi": "k5/ioi"}


def names(table: pd.DataFrame) -> list[tuple[int, int]]:
    """Heads in the order of the table."""
    return list(zip(table.layer, table["head"], strict=True))


def of(table: pd.DataFrame, variant: str) -> pd.DataFrame:
    return table[table.variant == variant]


def transfer() -> pd.DataFrame:
    return curve("mechrl", "transfer").set_index("variant")


def test_what_was_recomputed_says_so() -> None:
    source = (files("jobs.published") / "mechrl" / "SOURCE.md").read_text(encoding="utf-8")
    assert "https://github.com/BarsatKhadka/causality-RL at commit 21b1d98c" in source and "2605.26343" in source
    rows = {line.split("`")[1]: line for line in source.splitlines() if line.startswith("| `")}
    for name in ("transfer", "policy_heads", "overlap"):
        assert "**recomputed**" in rows[name], name
    assert {one.source for one in headlines("mechrl").values()} == {
        *("result files", "abstract, files", "recomputed", "logs")
    }


def test_discovery_only_grows_and_ends_where_the_table_does() -> None:
    curves, ends = curve("mechrl", "discovery_curves"), transfer()
    assert curves.step.is_monotonic_increasing and curves.step.iloc[-1] == 50
    for column, variant in POLICIES.items():
        assert curves[column].is_monotonic_increasing, column
        assert curves[column].iloc[-1] == ends.score[variant]


def test_shares_are_of_the_oracle() -> None:
    table = transfer()
    oracle = table.score.pop("oracle")
    others = table.drop(index="oracle")
    reported = others.share_of_oracle
    # reported to whole percents, but for the headline
    np.testing.assert_allclose(reported, others.score / oracle, atol=0.006)
    assert reported["k5/none"] == pytest.approx(others.score["k5/none"] / oracle, abs=5e-4)
    np.testing.assert_allclose(others.matched_share, others.matched_score / oracle, atol=1.5e-3)
    matched = others.matched_share.dropna()
    assert set(matched.index) == set(others.index) - {"random"} and (matched <= 1).all()
    assert others.matched_at_oracle["k5/none"] == 13


def test_a_headline_in_the_same_episodes_is_smaller() -> None:
    values, table = {name: one.value for name, one in headlines("mechrl").items()}, transfer()
    assert values["docstring_k5_share"] == table.share_of_oracle["k5/none"]
    assert values["docstring_k5_share_matched"] == table.matched_share["k5/none"] < values["docstring_k5_share"]
    assert values["docstring_k1_share_matched"] == table.matched_share["k1/none"]
    assert values["docstring_k5_over_k1"] == pytest.approx(table.score["k5/none"] / table.score["k1/none"], abs=0.005)
    scores = {"oracle": "oracle", "random": "random"} | {
        f"{k}{'' if told == 'none' else f'_{told}'}": f"{k}/{told}"
        for k in ("k1", "k5")
        for told in ("none", "induction", "ioi")
    }
    for name, variant in scores.items():
        assert values[f"docstring_{name}"] == table.score[variant]


def test_headlines_of_training_agree_with_the_tables() -> None:
    values = {name: one.value for name, one in headlines("mechrl").items()}
    training = curve("mechrl", "training").set_index("best_of")
    first = curve("mechrl", "learning").iloc[0]
    pairs = curve("mechrl", "policy_and_oracle").set_index("variant")
    for task in ("induction", "ioi"):
        assert set(training[task]) == {values[f"{task}_score"]}
        assert values[f"{task}_share"] == pairs.policy[task] / pairs.oracle[task] > 1  # over other episodes
        for k in (1, 5):
            assert values[f"k{k}_{task}_first"] == first[f"k{k}_{task}"]
    assert (values["k1_passes"], values["k5_passes"]) == tuple(training.forward_passes)
    assert values["sweep_drop"] == curve("mechrl", "single_heads")["drop"].max()


@pytest.mark.parametrize("name", ["oracle_heads", "policy_heads", "known_heads", "peak_heads", "single_heads"])
def test_heads_are_heads_of_the_model(name: str) -> None:
    table = curve("mechrl", name)
    assert table.layer.between(0, GPT2 - 1).all() and table["head"].between(0, GPT2 - 1).all()
    key = "variant" if "variant" in table else "rank"
    assert not table.duplicated([key, "layer", "head"]).any()


def test_ranks_and_counts_are_in_order() -> None:
    oracle = curve("mechrl", "oracle_heads")
    assert [of(oracle, task)["rank"].to_list() for task in oracle.variant.unique()] == [list(range(1, 11))] * 3
    docstring = of(oracle, "docstring").score
    assert docstring.is_monotonic_decreasing and docstring.iloc[0] == transfer().score["oracle"]
    peaks = curve("mechrl", "peak_heads")
    for variant in peaks.variant.unique():
        mine = of(peaks, variant)
        assert mine.place.to_list() == list(range(1, len(mine) + 1)) and mine.found.is_monotonic_decreasing
        assert mine.found.sum() <= mine.episodes.iloc[0]
    drops = curve("mechrl", "single_heads")["drop"]
    assert all(more > less for more, less in pairwise(drops))


def test_ranks_of_known_heads_are_those_of_the_oracles_list() -> None:
    known, oracle, policies = (curve("mechrl", f"{name}_heads") for name in ("known", "oracle", "policy"))
    for task in ("induction", "ioi"):
        ranks = dict(zip(names(of(oracle, task)), of(oracle, task)["rank"], strict=True))
        for row in known[known.variant.str.startswith(f"{task}/")].itertuples():
            rank = ranks.get((row.layer, row.head))
            assert row.oracle_rank == rank if rank else not row.oracle_rank <= 10, row
    assert len(known[known.variant.str.startswith("ioi/")].groupby(["layer", "head"])) == 26
    found = dict(
        zip(policies[policies.variant == "k1/induction"]["rank"], names(of(policies, "k1/induction")), strict=True)
    )
    assert found == {6: (5, 5), 9: (7, 2)}


def test_overlaps_follow_from_the_lists() -> None:
    known, overlap = curve("mechrl", "known_heads"), curve("mechrl", "overlap").set_index("variant")
    lists = {name: ("policy_heads", name) for name in ("k1/ioi", "k5/ioi", "k5/induction")}
    lists["oracle/ioi"] = ("oracle_heads", "ioi")
    assert set(lists) == set(overlap.index)
    for name, (table, variant) in lists.items():
        theirs = set(names(known[known.variant.str.startswith(f"{name.split('/')[1]}/")]))
        row, mine = overlap.loc[name], names(of(curve("mechrl", table), variant))
        assert (row.top, row.heads, row.known) == (len(mine), GPT2**2, len(theirs))
        assert row.found == len(theirs & set(mine)), name
        if np.isfinite(row.p):
            chance = scipy.stats.hypergeom(row.heads, row.known, row.top)
            assert row.p == pytest.approx(chance.sf(row.found - 1), abs=5e-5)
            assert row.by_chance == pytest.approx(chance.mean(), abs=0.05)
    values = {name: one.value for name, one in headlines("mechrl").items()}
    assert (values["ioi_known"], values["ioi_known_by_chance"], values["ioi_known_p"]) == tuple(
        overlap.loc["k1/ioi", ["found", "by_chance", "p"]]
    )
    first = set(names(of(curve("mechrl", "policy_heads"), "k1/ioi")))
    for row in curve("mechrl", "overlap_by_class").itertuples():
        theirs = set(names(of(known, f"ioi/{row.variant}")))
        assert (row.known, row.found) == (len(theirs), len(theirs & first)), row.variant
