"""Estimates drawn with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from jobs.report.verdicts import Interval
from tdlens.figures import intervals


def draw_estimates(ax: Axes, several: Sequence[Interval], places: Sequence[float], colour: str, **style: Any) -> None:
    """Points with horizontal intervals at the given heights."""
    values, lows, highs = ([getattr(one, part) for one in several] for part in ("value", "low", "high"))
    intervals(ax, values, lows, highs, places, colour, **style)
