"""Sentiment: how pleasant it sounds when a steered model speaks of itself and of tiles.

15 questions of wellbeing, 23 of the maze's tiles and other things (Han, Chalmers & Izmailov 2026, arXiv 2605.30232,
D.4.4). ``valence`` is the judge's score, from -1 to 1; ``probe`` what the unsteered naive model reads in the reply.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobs.welfare.data import Item
from jobs.welfare.evaluations.asking import Asking, Scored, judged_replies

NAME = "sentiment"
MEASURES = {"valence": 1, "probe": 1}
JUDGED = True


def evaluate(asking: Asking, items: list[Item]) -> list[Scored]:
    """Sampled replies, judged and probed.

    Raises:
        ValueError: there is no probe.
    """
    probe = asking.probe
    if probe is None:
        raise ValueError("sentiment needs a probe")

    def probed(texts: Sequence[str]) -> dict[str, Sequence[float | None]]:
        return {"probe": probe.valence(texts).tolist()}

    return judged_replies(asking, items, "valence", asking.judge.sentiment, probed)
