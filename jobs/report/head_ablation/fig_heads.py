"""What each head's ablation does, by layer and head."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from jobs.report.claims import or_none
from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation import authors
from jobs.report.head_ablation.heads import (
    grid,
    known_for,
    own_ablation,
    read_labels,
    read_picks,
    read_scores,
    tasks_in,
)
from jobs.report.head_ablation.panels import heading, task_panels
from jobs.report.head_ablation.searches import POLICY, Way, kinds, own_code, said
from jobs.report.reader import Reader, StudyFacts
from tdlens.figures import INK, number

NAME = "heads"
TITLE = "What the ablation of each head does"
OVERLAY = "GPT-2 small: the ten heads of the highest score in each task (table)"

LISTED, NUMBERED = 10, 5
"""Heads in the table, and picks written into the maps."""


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A map a task: score by layer and head; known heads framed, a policy's first picks numbered."""
    scores, labels = read_scores(reader, facts), or_none(lambda: read_labels(reader, facts))
    tasks = tasks_in(scores, facts)
    figure, axes = task_panels(len(tasks), row=0.19 * scores["layer"].nunique() + 1.9)
    singles = kinds(facts)[0]
    for ax, task in zip(axes, tasks, strict=True):
        mine = scores[scores["task"] == task]
        image = _map(ax, grid(mine))
        figure.colorbar(image, ax=ax, pad=0.015, aspect=25, label="score, nats")
        if labels is not None:
            _frames(ax, mine, {name for names in known_for(labels, task).values() for name in names})
        picks = or_none(lambda task=task: read_picks(reader, facts, task))  # type: ignore[misc]
        way = Way(POLICY, singles, own_code(facts, task), 1)
        if picks is not None and way in picks:
            _numbers(ax, mine, [str(name) for name in picks[way].index[:NUMBERED]])
        ax.set(title=heading(facts, task), xlabel="head" if ax in axes[-2:] else "", ylabel="layer, from 0 on")
    return Drawing(
        figure,
        sees=_sees(scores, tasks),
        beside=(
            f"Framed heads are known to play a part in the task (see below); numbers are the order in which the policy "
            f"with K = {singles} tries heads, on average. A low score is not a proof of no use: where another head "
            "stands in for one that is removed, single ablation shows neither, and heads that any text needs are "
            f"marked down by the control. Ablation: {own_ablation(facts).replace('_', ' ')}."
        ),
        n=f"{scores['name'].nunique()} heads, means over {int(scores['episodes'].max())} episodes of each task",
        table=_table(scores, tasks),
    )


def _map(ax: Axes, table: pd.DataFrame) -> Any:
    limit = max(float(np.nanmax(np.abs(table.to_numpy(float)))), 1e-9)
    image = ax.imshow(
        table.to_numpy(float), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="none"
    )
    ax.grid(False)
    step = 1 if table.shape[1] <= 16 else 4
    ax.set(xticks=range(0, table.shape[1], step), xticklabels=table.columns[::step])
    step = 1 if table.shape[0] <= 12 else 4
    ax.set(yticks=range(0, table.shape[0], step), yticklabels=table.index[::step])
    return image


def _frames(ax: Axes, scores: pd.DataFrame, known: set[str]) -> None:
    there = scores[scores["name"].isin(known)]
    for layer, head in zip(there["layer"].tolist(), there["head"].tolist(), strict=True):
        ax.add_patch(Rectangle((head - 0.46, layer - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=1.3))


def _numbers(ax: Axes, scores: pd.DataFrame, names: list[str]) -> None:
    limit = float(scores["score"].abs().max())
    there = {row["name"]: row for row in scores.to_dict("records")}
    for rank, row in enumerate((there[name] for name in names if name in there), 1):
        colour = "white" if abs(row["score"]) > 0.6 * limit else INK
        style: Any = {"ha": "center", "va": "center", "fontsize": 8, "fontweight": "bold", "color": colour}
        ax.text(row["head"], row["layer"], str(rank), **style)


def _sees(scores: pd.DataFrame, tasks: list[str]) -> str:
    parts = []
    for task in tasks:
        best = ", ".join(f"{row['name']} {number(row['score'])}" for row in _best(scores, task, 3))
        parts.append(f"{said(task)}: {best}")
    return (
        "Score of each head: by how much its ablation hurts the task, less the harm to text that has nothing to do "
        f"with it. Highest, in nats: {'; '.join(parts)}."
    )


def _table(scores: pd.DataFrame, tasks: list[str]) -> Table:
    rows = []
    for task in tasks:
        theirs = authors.oracle_heads(task)
        for place, row in enumerate(_best(scores, task, LISTED)):
            rows.append(
                (
                    said(task),
                    str(place + 1),
                    row["name"],
                    number(row["score"], 3),
                    f"{number(row['low'])} to {number(row['high'])}",
                    number(row["task_damage"], 3),
                    number(row["control_damage"], 3),
                    theirs[place] if place < len(theirs) else "–",
                )
            )
    header = (
        "task",
        "rank",
        "head",
        "score",
        "over episodes",
        "damage to task",
        "to control",
        "GPT-2 small (published)",
    )
    return Table(header, tuple(rows), words=(0,))


def _best(scores: pd.DataFrame, task: str, n: int) -> list[dict[Hashable, Any]]:
    """The heads of the highest score."""
    mine = scores[scores["task"] == task].sort_values("score", ascending=False, kind="stable")
    return mine.head(n).to_dict("records")
