"""Whether what is found are the heads that are known to play a part, and which of these are not found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation import authors
from jobs.report.head_ablation.heads import (
    TOP,
    Overlap,
    known_for,
    overlap,
    ranking,
    read_labels,
    read_picks,
    read_scores,
    tasks_in,
)
from jobs.report.head_ablation.panels import heading, task_panels
from jobs.report.head_ablation.searches import POLICY, Way, kinds, own_code, said
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import CYCLE, GREY

NAME = "known"
TITLE = "Overlap with heads that are known to play a part"
OVERLAY = (
    "GPT-2 small: of the 26 heads of Wang et al. (2023) six are among the ten of the highest score, and among the ten "
    "that either policy tries first; no name mover is"
)

SWEEP = "score"


@dataclass(frozen=True)
class Known:
    """Known heads of one task in the rankings of it."""

    parts: Mapping[str, list[str]]
    """Heads by the part that they play."""
    rankings: Mapping[str, list[str]]
    """Names of all heads that were ranked, by who ranked: the sweep by score, policies by the order of their picks."""
    heads: int

    @property
    def known(self) -> set[str]:
        """All heads that play a part."""
        return {name for names in self.parts.values() for name in names}

    def overlap(self, ranked: str) -> Overlap | None:
        """Of one ranking, with the known heads."""
        found = self.rankings.get(ranked)
        return overlap(found, self.known, self.heads) if found and self.known else None


def part_said(part: str) -> str:
    """A part's name for people."""
    return {"s_inhibition": "S-inhibition"}.get(part, part.replace("_", " "))


def label_of(k: int) -> str:
    """A policy as it is called among the rankings."""
    return f"K = {k}"


def read_known(reader: Reader, facts: StudyFacts, task: str) -> Known:
    """The known heads of a task and how they are ranked.

    Raises:
        NotRecorded: no head is known, or none was ablated.
    """
    labels, scores = read_labels(reader, facts), read_scores(reader, facts)
    mine = scores[scores["task"] == task]
    if mine.empty:
        raise NotRecorded(f"scores of all heads in {said(task)} (stage ablate)")
    rankings = {SWEEP: ranking(mine)}
    try:
        picks = read_picks(reader, facts, task)
    except NotRecorded:
        picks = {}
    for k in sorted(set(kinds(facts))):
        way = Way(POLICY, k, own_code(facts, task), 1)
        if way in picks:
            rankings[label_of(k)] = [str(name) for name in picks[way].index]
    return Known(known_for(labels, task), rankings, len(mine))


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a task: each known head's rank in the sweep, by the part that it plays."""
    scores = read_scores(reader, facts)
    tasks = {task: read_known(reader, facts, task) for task in tasks_in(scores, facts)}
    tasks = {task: one for task, one in tasks.items() if one.known}
    if not tasks:
        raise NotRecorded("heads that are known for something (stage heads)")
    most = max(len(one.parts) for one in tasks.values())
    figure, axes = task_panels(len(tasks), row=0.34 * most + 1.3)
    for ax, (task, one) in zip(axes, tasks.items(), strict=True):
        _panel(ax, one, facts)
        ax.set(title=heading(facts, task))
        ax.set_xlabel("rank by score, and by order of the policy's picks" if ax in axes[-2:] else "")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    sources = sorted(set(read_labels(reader, facts)["source"]))
    return Drawing(
        figure,
        sees=_sees(tasks),
        beside=(
            f"Known by: {', '.join(sources)}. The test asks how likely so many known heads are among as many heads "
            f"drawn by chance (hypergeometric), for the first k of a ranking, k being the number of known heads and at "
            f"most {TOP} (shaded). Policies try a good share of all heads in every episode: only the order of their "
            "picks tells something, so their rank is the mean pick, heads that weren't tried counting as one after the "
            "last. That a head shows the pattern doesn't prove that the task needs it. Labels of what "
            "heads write (movers, and S-inhibition by its absence) also ask for a direct effect on the same kind of "
            "answers that scores are about, in episodes that no search is judged by: overlap with these is no "
            "independent evidence."
        ),
        n="; ".join(f"{said(task)}: {len(one.known)} known of {one.heads} heads" for task, one in tasks.items()),
        table=_table(tasks, facts),
    )


def _panel(ax: Axes, one: Known, facts: StudyFacts) -> None:
    k = min(TOP, len(one.known))
    ax.axvspan(0.5, k + 0.5, color="#F3F4F6", zorder=0)
    heights = np.arange(len(one.parts))[::-1].astype(float)
    shown = [SWEEP, label_of(kinds(facts)[0])]
    for height, (colour, names) in zip(
        heights, zip(np.resize(CYCLE, len(heights)), one.parts.values(), strict=True), strict=True
    ):
        ax.axhline(height, color="#E8EAEE", linewidth=0.7, zorder=0.5)
        for ranked, offset, marker, face in zip(shown, (0.14, -0.14), ("o", "D"), (colour, "white"), strict=True):
            order = one.rankings.get(ranked)
            if order is not None:
                there = [order.index(name) + 1 for name in names if name in order]
                style: Any = {"color": colour, "markerfacecolor": face, "markersize": 5}
                ax.plot(there, [height + offset] * len(there), marker, **style)
                never = len(names) - len(there)
                ax.plot([one.heads + 0.07 * one.heads] * min(never, 1), [height + offset] * min(never, 1), "x", **style)
    ax.plot([], [], "o", color=GREY, label="by score")
    ax.plot([], [], "D", color=GREY, markerfacecolor="white", label=f"by the policy's picks ({shown[1]})")
    ax.plot([], [], "x", color=GREY, label="some never tried")
    ax.set(xlim=(0.4, 1.1 * one.heads), ylim=(-0.6, len(heights) - 0.4))
    ax.set(yticks=heights, yticklabels=[f"{part_said(part)} ({len(names)})" for part, names in one.parts.items()])
    ax.grid(False)


def _sees(tasks: Mapping[str, Known]) -> str:
    parts = []
    for task, one in tasks.items():
        told = [f"by {ranked} {found.text}" for ranked in one.rankings if (found := one.overlap(ranked)) is not None]
        parts.append(f"{said(task)}: {', '.join(told)}")
    return f"Known heads among the first of a ranking. {'; '.join(parts)}."


def _table(tasks: Mapping[str, Known], facts: StudyFacts) -> Table:
    several = [SWEEP, *(label_of(k) for k in sorted(set(kinds(facts))))]
    rows = []
    for task, one in tasks.items():
        for part, names in [("any", sorted(one.known)), *one.parts.items()]:
            cells = []
            for ranked in several:
                found = one.overlap(ranked)
                hits = [name for name in found.hits if name in names] if found else []
                cells.append(f"{len(hits)}: {', '.join(hits)}" if hits else "0" if found else "–")
            rows.append((said(task), part_said(part), str(len(names)), *cells, _theirs(task, part)))
    header = ("task", "part", "known heads", *(f"first by {ranked}" for ranked in several), "published (K = 1)")
    return Table(header, tuple(rows), words=(0, 1, *range(3, 3 + len(several)), 3 + len(several)))


def _theirs(task: str, part: str) -> str:
    if part == "any":
        return authors.overlap(task, "k1") or "–"
    return authors.by_class().get(part, "–") if task == "ioi" else "–"
