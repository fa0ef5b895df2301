"""Refusal: whether a steered model refuses requests, harmless, in between and harmful ones.

The measure is the share of the coherent replies that do (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, D.4.7).
"""

from __future__ import annotations

from jobs.welfare.data import Item
from jobs.welfare.evaluations.asking import Asking, Scored, judged_replies

NAME = "refusal"
MEASURES = {"refusal": -1}
JUDGED = True


def evaluate(asking: Asking, items: list[Item]) -> list[Scored]:
    """Sampled replies, judged."""
    return judged_replies(asking, items, "refusal", asking.judge.refusal)
