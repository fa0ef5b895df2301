"""The author's numbers: recomputed from released checkpoints, logs and result files, none of them the paper's."""

from __future__ import annotations

from functools import cache
from typing import Any

from jobs.published import curve

LATENTS = 1024
"""Of the autoencoders over k."""


@cache
def agents() -> list[dict[str, Any]]:
    """The three agents; the first is the one whose layer the autoencoders read."""
    return _rows("dqn_agents")


@cache
def autoencoders() -> list[dict[str, Any]]:
    """The TopK autoencoders of that agent; variant is empty for those that differ in k alone."""
    return _rows("dqn_topk")


def over_k() -> list[dict[str, Any]]:
    """Those that differ in k alone."""
    return [row for row in autoencoders() if not row["variant"]]


def autoencoder(k: int, variant: str = "") -> dict[str, Any]:
    """One of them."""
    return next(row for row in autoencoders() if (row["k"], row["variant"]) == (k, variant))


@cache
def probe() -> dict[str, Any]:
    """What the author's features told of boards."""
    return _rows("dqn_probe")[0]


@cache
def pacman() -> list[dict[str, Any]]:
    """Live latents and score of the eleven Ms. Pac-Man agents that are known one by one."""
    return _rows("pacman_population")


@cache
def pacman_fit() -> dict[str, Any]:
    """The fit over all 24."""
    return _rows("pacman_fit")[0]


def _rows(name: str) -> list[dict[str, Any]]:
    table = curve("dqn_saes", name)
    if "variant" in table:
        table["variant"] = table["variant"].fillna("")
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
