"""Heads that stand in for each other: pairs that do more damage together than one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation.panels import heading, task_panels
from jobs.report.head_ablation.searches import said
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval, widened
from tdlens.figures import BLUE, GREY, VERMILION, number

NAME = "pairs"
TITLE = "Redundancy: pairs of heads ablated together"
OVERLAY = "none: the paper names redundancy as the reason why name movers aren't found, and ablates single heads alone"

SHOWN = 8
"""Pairs of a task that are drawn: those of the largest excess."""


@dataclass(frozen=True)
class Pair:
    """Two heads of one task, means over episodes."""

    task: str
    name: str
    other: str
    damage: float
    """Of both, nats."""
    excess: Interval
    """Damage of both less the sum of each alone."""
    hidden: Interval
    """Excess less what both alone do show, if that is any: above 0 where single ablation shows less than half."""
    episodes: int

    @property
    def alone(self) -> float:
        """Sum of what each does alone."""
        return self.damage - self.excess.value


def read_pairs(reader: Reader, facts: StudyFacts) -> dict[str, list[Pair]]:
    """Pairs by task, the largest excess first.

    Raises:
        NotRecorded: no two heads were ablated at once.
    """
    rows = reader.ask(
        """
        SELECT task, seed, name, other_name, damage, excess FROM v_head_pair
        WHERE study = :study AND model = :model ORDER BY task, name, other_name, seed
        """,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("pairs of heads ablated together (stage pairs)")
    found: dict[str, list[Pair]] = {}
    for task in facts.config["task"]["variants"]:
        mine = rows[rows["task"] == task]
        pairs = [
            _pair(str(task), str(a), str(b), one) for (a, b), one in mine.groupby(["name", "other_name"], sort=True)
        ]
        if pairs:
            found[str(task)] = sorted(pairs, key=lambda pair: -pair.excess.value)
    return found


def _pair(task: str, name: str, other: str, rows: pd.DataFrame) -> Pair:
    hidden = rows["excess"] - (rows["damage"] - rows["excess"]).clip(lower=0)
    return Pair(task, name, other, float(rows["damage"].mean()), _mean(rows["excess"]), _mean(hidden), len(rows))


def _mean(values: pd.Series[float]) -> Interval:
    """Over episodes; of one there is no interval."""
    return mean_interval(values.tolist()) or Interval(float(values.mean()), float("nan"), float("nan"))


def widened_pairs(pairs: list[Pair], name: str) -> list[Interval]:
    """The excess of each pair, or what is hidden, widened for their number (Bonferroni)."""
    return [widened(getattr(one, name), len(pairs), freedom=max(one.episodes - 1, 1)) for one in pairs]


def above(pairs: list[Pair], name: str) -> list[bool]:
    """Of which that lies above 0."""
    return [one.known and one.low > 0 for one in widened_pairs(pairs, name)]


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a task: damage of both, beside the sum of both alone."""
    tasks = read_pairs(reader, facts)
    most = max(min(len(pairs), SHOWN) for pairs in tasks.values())
    figure, axes = task_panels(len(tasks), row=0.27 * most + 1.2)
    for ax, (task, pairs) in zip(axes, tasks.items(), strict=True):
        _panel(ax, pairs[:SHOWN])
        ax.set(title=heading(facts, task), xlabel="damage to the task, nats" if ax in axes[-2:] else "")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    first = next(iter(tasks.values()))
    return Drawing(
        figure,
        sees=_sees(tasks),
        beside=(
            "Drawn are the pairs of the largest excess, which are the luckiest too: the intervals of the excess about "
            "the damage of both are single ones, the counts in the sentence above are of intervals widened for all "
            "pairs of the task (Bonferroni). Heads that work one after the other rather than side by side show a "
            "deficit. A logit difference need not add up even where no head stands in for another."
        ),
        n=f"{len(first)} pairs of each task, {first[0].episodes} episodes each",
        table=_table(tasks),
    )


def _panel(ax: Axes, pairs: list[Pair]) -> None:
    heights = np.arange(len(pairs))[::-1].astype(float)
    for height, one in zip(heights, pairs, strict=True):
        ax.plot([one.alone, one.damage], [height, height], color=GREY, linewidth=1.2, zorder=1.5)
        if one.excess.known:
            low, high = one.alone + one.excess.low, one.alone + one.excess.high
            ax.plot([low, high], [height, height], color=VERMILION, linewidth=4, alpha=0.25, zorder=1.6)
    ax.plot([one.alone for one in pairs], heights, "o", color=BLUE, markerfacecolor="white", label="each alone, summed")
    ax.plot([one.damage for one in pairs], heights, "o", color=VERMILION, label="both at once [excess, 95 %]")
    ax.axvline(0, color=GREY, linewidth=0.9)
    ax.set(yticks=heights, yticklabels=[f"{one.name} and {one.other}" for one in pairs], ylim=(-0.6, len(pairs) - 0.4))
    ax.grid(axis="y", visible=False)


def _sees(tasks: dict[str, list[Pair]]) -> str:
    parts = []
    for task, pairs in tasks.items():
        best = pairs[0]
        more, most = (sum(above(pairs, name)) for name in ("excess", "hidden"))
        parts.append(
            f"{said(task)}: {more} of {len(pairs)} pairs, and of {most} single ablation shows less than half; the most "
            f"{best.name} with {best.other}: {number(best.damage)} nats together, {number(best.alone)} as the sum of "
            "both alone"
        )
    return f"Pairs that do more damage together than the sum of both. {'; '.join(parts)}."


def _table(tasks: dict[str, list[Pair]]) -> Table:
    rows = []
    for task, pairs in tasks.items():
        more, most = (above(pairs, name) for name in ("excess", "hidden"))
        for one, exceeds, hides in list(zip(pairs, more, most, strict=True))[:SHOWN]:
            told = "more than half hidden" if hides else "above 0" if exceeds else "–"
            heads = f"{one.name} and {one.other}"
            rows.append((said(task), heads, number(one.damage, 3), number(one.alone, 3), one.excess.text(3), told))
    header = ("task", "heads", "both, nats", "sum of both alone", "excess [95 %]", "among all pairs")
    return Table(header, tuple(rows), words=(0, 1, 5))
