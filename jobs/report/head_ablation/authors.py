"""The paper's numbers of GPT-2 small: one seed, from its result files and logs; jobs/published/mechrl/SOURCE.md."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

import pandas as pd

from jobs.published import curve

MOVER = "name_mover"
"""What the parts end in whose heads stand in for each other."""
HELD_OUT = "docstring"
"""The one task that the paper's policies were not trained on."""
TRAINED = ("induction", "ioi")
"""Those that they were."""
HEADS = 144
"""Of GPT-2 small."""
BEST_OF = (1, 5)
"""Heads that its policies tried at each step of training."""


@cache
def _table(name: str) -> pd.DataFrame:
    return curve("mechrl", name)


@cache
def _transfer() -> dict[str, dict[Hashable, Any]]:
    """Docstring's rows by who searched and what it was told."""
    return {str(row["variant"]): row for row in _table("transfer").to_dict("records")}


def oracle() -> float:
    """Of docstring, mean over 15 episodes, nats."""
    return float(_transfer()["oracle"]["score"])


def curves() -> tuple[list[int], dict[str, list[float]]]:
    """Docstring: steps, and the best score so far of random heads and of both policies without a code.

    Scores are means over 30 episodes, as shares of the oracle's over the first 15 of them.
    """
    table = _table("discovery_curves")
    shown = {"random": "random", "K = 1": "k1_none", "K = 5": "k5_none"}
    return [int(step) for step in table["step"]], {
        name: (table[column] / oracle()).tolist() for name, column in shown.items()
    }


def learning(task: str) -> dict[int, pd.Series[float]]:
    """By K, score over transitions as a share of its last; empty for a task that wasn't trained on."""
    table = _table("learning").set_index("transitions")
    columns = {k: f"k{k}_{task}" for k in (1, 5)}
    return {k: table[column] / table[column].iloc[-1] for k, column in columns.items() if column in table}


def matched(trained: int, code: str) -> float | None:
    """Docstring: share of the oracle on the same 15 episodes, of a policy by K and what it was told."""
    return _of_transfer(trained, code, "matched_share")


def printed(trained: int, code: str) -> float | None:
    """The same as the paper prints it: 30 episodes of the policy over 15 of the oracle."""
    return _of_transfer(trained, code, "share_of_oracle")


def _of_transfer(trained: int, code: str, column: str) -> float | None:
    row = _transfer().get(f"k{trained}/{code}")
    return float(row[column]) if row is not None else None


def random_share() -> float:
    """Docstring: of random heads, 30 episodes over the oracle's 15; on the same ones it isn't known."""
    return float(_transfer()["random"]["share_of_oracle"])


def final(task: str) -> float:
    """Score of a trained policy, the same for both K, nats."""
    return float(_table("training")[task].iloc[0])


def unmatched(task: str) -> str:
    """K = 1 and oracle on a task, nats, over different episodes."""
    row = next(row for row in _table("policy_and_oracle").to_dict("records") if row["variant"] == task)
    return f"{row['policy']:.3f} of {row['oracle']:.3f} nats (20 and 10 episodes)"


def oracle_heads(task: str) -> list[str]:
    """The ten heads of the highest mean score; empty where they aren't known."""
    return _names(_table("oracle_heads"), task)


def classes() -> tuple[tuple[int, int], tuple[int, int]]:
    """IOI: known heads among those ten, and how many there are: name movers of all kinds, and others."""
    table = _table("overlap_by_class")
    movers = table["variant"].str.endswith(MOVER)
    (found, known), (others, all_others) = (
        (int(one["found"].sum()), int(one["known"].sum())) for one in (table[movers], table[~movers])
    )
    return (found, known), (others, all_others)


def single_heads() -> dict[str, float]:
    """The largest falls of the logit difference on induction, 100 sequences, by head."""
    table = _table("single_heads")
    return dict(zip(_head(table), table["drop"].astype(float), strict=True))


def overlap(task: str, ranking: str) -> str | None:
    """Known heads among the first ten of a ranking (oracle, k1, k5)."""
    rows = {row["variant"]: row for row in _table("overlap").to_dict("records")}
    one = rows.get(f"{ranking}/{task}")
    if one is None:
        return None
    chance = "" if pd.isna(one["p"]) else f" (chance {one['by_chance']:.1f}, p = {one['p']:.2g})"
    return f"{one['found']} of {one['top']}{chance}"


def by_class() -> dict[str, str]:
    """IOI: known heads of each class among the ten that K = 1 tries first."""
    table = _table("overlap_by_class")
    return {str(row.variant): f"{row.found} of {row.known}" for row in table.itertuples()}


def _names(table: pd.DataFrame, variant: str) -> list[str]:
    mine = table[table["variant"] == variant].sort_values("rank")
    return _head(mine)


def _head(table: pd.DataFrame) -> list[str]:
    return [f"{layer}.{head}" for layer, head in zip(table["layer"], table["head"], strict=True)]
