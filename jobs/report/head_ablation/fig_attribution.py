"""How well attribution patching, one forward and one backward pass, foretells what ablation does."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation.heads import TOP, pearson, ranking, read_scores, spearman, tasks_in
from jobs.report.head_ablation.panels import heading, task_panels
from jobs.report.head_ablation.searches import said
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import GREEN, GREY, number

NAME = "attribution"
TITLE = "Attribution patching against ablation"
OVERLAY = "none: the paper's first version has no baseline but random heads"

NAMED = 3
"""Heads whose names are written beside their dots."""


def read_estimates(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """Scores of heads that have an estimate.

    Raises:
        NotRecorded: none has.
    """
    scores = read_scores(reader, facts).dropna(subset=["attribution"])
    if scores.empty:
        raise NotRecorded("first-order estimates of scores (stage ablate)")
    return scores


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a task: estimate over score, a dot a head."""
    scores = read_estimates(reader, facts)
    tasks = tasks_in(scores, facts)
    figure, axes = task_panels(len(tasks), row=2.9)
    for ax, task in zip(axes, tasks, strict=True):
        mine = scores[scores["task"] == task]
        _panel(ax, mine)
        tested = f"r = {number(pearson(mine['score'], mine['attribution']))}, "
        tested += f"ρ = {number(spearman(mine['score'], mine['attribution']))}"
        ax.text(0.02, 0.97, tested, transform=ax.transAxes, va="top", fontsize=8.5)
        ax.set(title=heading(facts, task), xlabel="score by ablation, nats" if ax in axes[-2:] else "")
        ax.set(ylabel="estimate, nats" if ax in axes[::2] else "")
    return Drawing(
        figure,
        sees=_sees(scores, tasks),
        beside=(
            "The estimate is first-order: it holds as far as the rest of the network answers in proportion. Heads that "
            "are large in one and small in the other are those whose removal later blocks undo, or make worse. It "
            "ranks all heads for one forward and one backward pass of each batch."
        ),
        n=f"{scores['name'].nunique()} heads, means over {int(scores['episodes'].max())} episodes of each task",
        table=_table(scores, tasks),
    )


def _panel(ax: Axes, scores: pd.DataFrame) -> None:
    ax.plot(scores["score"], scores["attribution"], "o", color=GREEN, markersize=3.6, alpha=0.8)
    low = float(scores[["score", "attribution"]].min().min())
    high = float(scores[["score", "attribution"]].max().max())
    ax.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
    ax.margins(0.09)
    named = {*ranking(scores)[:NAMED], *ranking(scores, "attribution")[:NAMED]}
    rows = scores[scores["name"].isin(named)].sort_values("score")[["name", "score", "attribution"]]
    for place, (name, score, estimate) in enumerate(rows.itertuples(index=False)):
        above = place % 2  # neighbours often lie close together
        ax.annotate(
            name, (score, estimate), (4, 3 if above else -9), textcoords="offset points", fontsize=7.5, color=GREY
        )


def _shared(scores: pd.DataFrame) -> int:
    return len({*ranking(scores)[:TOP]} & {*ranking(scores, "attribution")[:TOP]})


def _sees(scores: pd.DataFrame, tasks: list[str]) -> str:
    parts = []
    for task in tasks:
        mine = scores[scores["task"] == task]
        r = number(pearson(mine["score"], mine["attribution"]))
        parts.append(f"{said(task)} r = {r}, {_shared(mine)} of the first {TOP} shared")
    return f"The estimate of each head's score against the score itself, on the same episodes. {'; '.join(parts)}."


def _table(scores: pd.DataFrame, tasks: list[str]) -> Table:
    rows = []
    for task in tasks:
        mine = scores[scores["task"] == task]
        rows.append(
            (
                said(task),
                number(pearson(mine["score"], mine["attribution"])),
                number(spearman(mine["score"], mine["attribution"])),
                str(_shared(mine)),
                ", ".join(ranking(mine)[:5]),
                ", ".join(ranking(mine, "attribution")[:5]),
            )
        )
    header = ("task", "r", "rank correlation", f"shared of the first {TOP}", "first by ablation", "first by estimate")
    return Table(header, tuple(rows), words=(0, 4, 5))
