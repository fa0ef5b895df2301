"""What a steered model is asked, and by what its replies are measured.

An evaluation is a module with ``NAME``, ``MEASURES`` (the sign that adding Gold's vector is expected to have on each;
the first is what stands for it), ``JUDGED`` and ``evaluate``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Protocol

from jobs.welfare.data import Item
from jobs.welfare.evaluations import backtracking, confidence, refusal, sentiment
from jobs.welfare.evaluations.asking import Asking, Scored


class Evaluation(Protocol):
    """A module of this package."""

    NAME: str
    MEASURES: dict[str, int]
    """1 or -1 for each: how Gold's vector is expected to change it (Han et al. 2026); Mold's the other way."""
    JUDGED: bool
    """Whether replies are sampled and judged."""

    def evaluate(self, asking: Asking, items: list[Item]) -> list[Scored]:
        """Ask everything under every dose."""


EVALUATIONS: MappingProxyType[str, Evaluation] = MappingProxyType(
    {module.NAME: module for module in (confidence, sentiment, backtracking, refusal)}
)
"""By their names."""

__all__ = ["EVALUATIONS", "Asking", "Evaluation", "Scored"]
