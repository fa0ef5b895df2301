"""Transfer to tasks that policies were not trained on, by what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation import authors
from jobs.report.head_ablation.heads import read_peaks
from jobs.report.head_ablation.matched import share
from jobs.report.head_ablation.panels import keep_shares, task_panels
from jobs.report.head_ablation.searches import (
    ATTRIBUTION,
    LAYERS,
    LIST,
    NO_CODE,
    POLICY,
    RANDOM,
    Found,
    Way,
    baseline_way,
    held_out_tasks,
    kinds,
    read_found,
    said,
    titled,
    trained_tasks,
)
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from tdlens.figures import GREY, intervals, mark, number

NAME = "transfer"
TITLE = "Transfer to held-out tasks, by the task code"
OVERLAY = (
    "GPT-2 small, one seed, docstring: recomputed on the 15 episodes that its oracle was measured on; the paper prints "
    "policy (30 episodes) over oracle (15), 96.7 % for K = 5 without a code"
)

SHOWN = (RANDOM, LAYERS, ATTRIBUTION)
"""Baselines whose code is not varied."""


@dataclass(frozen=True)
class Row:
    """One way on one task."""

    label: str
    way: Way
    found: Found
    end: Interval
    """Share of the oracle at the end of episodes."""
    speed: Interval
    """The same over the steps."""


def rows_of(reader: Reader, facts: StudyFacts, task: str) -> list[Row]:
    """Baselines and policies of each K with each code, one head a step; the last is drawn on top.

    Raises:
        NotRecorded: there was no search.
    """
    found = read_found(reader, facts, task)
    several: list[tuple[str, Way]] = []
    for method in SHOWN:
        way = baseline_way(found, method, NO_CODE)
        several += [(way.label, way)] if way is not None else []
    told = {code: "told nothing" if code == NO_CODE else f"told {said(code)}" for code in codes(facts)}
    several += [(f"fixed list, {words}", Way(LIST, 0, code, 1)) for code, words in told.items()]
    several += [
        (f"K = {k}, {words}", Way(POLICY, k, code, 1))
        for k in sorted(set(kinds(facts)))
        for code, words in told.items()
    ]
    return [
        Row(label, way, one, share(one), share(one, Found.per_step))
        for label, way in several
        if (one := found.get(way)) is not None
    ]


def codes(facts: StudyFacts) -> list[str]:
    """What a policy can be told in a task that it was not trained on."""
    return [NO_CODE, *trained_tasks(facts)]


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a held-out task: share of the oracle of each way."""
    tasks: dict[str, list[Row]] = {}
    missing = NotRecorded("a held-out task")
    for task in held_out_tasks(facts):
        try:
            tasks[task] = rows_of(reader, facts, task)
        except NotRecorded as reason:
            missing = reason
    tasks = {task: rows for task, rows in tasks.items() if rows}
    if not tasks:
        raise missing
    most = max(len(rows) for rows in tasks.values())
    figure, axes = task_panels(len(tasks), row=0.34 * most + 0.9, sharex=True)
    for ax, (task, rows) in zip(axes, tasks.items(), strict=True):
        _panel(ax, task, rows)
    keep_shares(axes)
    _legend(figure, axes[0])
    first = next(iter(tasks.values()))
    return Drawing(
        figure,
        sees=_sees(tasks, facts),
        beside=(
            "Policy and oracle are compared on the same episodes throughout. Hollow marks are the same over the steps "
            "of an episode, which tells how soon the head was tried rather than whether at all. A policy that is told "
            "nothing sees a code that it never met in training. The fixed list is of the heads that did best in the "
            "training episodes of the task that is told, or of all: what a policy may have learned by heart. Small "
            "dots are seeds; for the scatter of three the intervals allow 4.3 standard errors, and may "
            "leave the axis (see the table). The paper has one seed."
        ),
        n=f"{len(first[0].found.episodes)} episodes of each task, the same for all; policies of "
        f"{max(len(row.found.seeds) for row in first)} seeds",
        table=_table(reader, facts, tasks),
    )


def _panel(ax: Axes, task: str, rows: list[Row]) -> None:
    heights = np.arange(len(rows))[::-1].astype(float)
    label: str | None = "published, matched"
    for height, row in zip(heights, rows, strict=True):
        colour = row.way.colour
        intervals(ax, [row.end.value], [row.end.low], [row.end.high], [height], colour, zorder=3)
        style = {"markerfacecolor": "white", "elinewidth": 0.8, "markersize": 4, "zorder": 2.5}
        intervals(ax, [row.speed.value], [row.speed.low], [row.speed.high], [height], colour, **style)
        seeds = row.found.at_end().mean(1) / row.found.oracle.mean()
        if len(seeds) > 1:
            ax.plot(seeds, np.full(len(seeds), height - 0.24), ".", color=colour, markersize=3.5, alpha=0.8)
        theirs = authors.matched(row.way.trained, row.way.code) if row.way.method == POLICY else None
        if task == authors.HELD_OUT and theirs is not None:
            mark(ax, theirs, height, label)
            label = None
    ax.axvline(1, color=GREY, linewidth=1)
    ax.set(title=f"{said(task)} · held out", xlabel="share of the oracle (line: 1)")
    ax.set(yticks=heights, yticklabels=[row.label for row in rows], ylim=(-0.6, len(rows) - 0.4))
    ax.grid(axis="y", visible=False)


def _legend(figure: Figure, ax: Axes) -> None:
    """What filled, hollow and small marks are, in grey, and the published ones if there are any."""
    grey: dict[str, Any] = {"color": GREY, "linestyle": "none"}
    ax.plot([], [], "o", label="at the end of episodes", **grey)
    ax.plot([], [], "o", markerfacecolor="white", label="mean over the steps", **grey)
    ax.plot([], [], ".", markersize=3.5, label="each seed, at the end", **grey)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _sees(tasks: Mapping[str, list[Row]], facts: StudyFacts) -> str:
    parts = []
    for task, rows in tasks.items():
        told = []
        for code in codes(facts):
            mine = [f"{_short(row)} {row.end.text()}" for row in rows if row.way.code == code and _follows(row)]
            told.append(f"told {'nothing' if code == NO_CODE else said(code)}, {', '.join(mine)}")
        others = [f"{row.label} {number(row.end.value)}" for row in rows if not _follows(row)]
        parts.append(f"{titled(task)}: {'; '.join([*told, ', '.join(others)])}")
    return f"Share of the oracle at the end of an episode. {'. '.join(parts)}."


def _follows(row: Row) -> bool:
    """Whether what it does depends on the code that it is told."""
    return row.way.method in (POLICY, LIST)


def _short(row: Row) -> str:
    return row.label.split(",")[0]


def _table(reader: Reader, facts: StudyFacts, tasks: Mapping[str, list[Row]]) -> Table:
    lines = []
    for task, rows in tasks.items():
        peaks = read_peaks(reader, facts, task)
        for row in rows:
            mine = peaks[row.way]
            total = int(mine["episodes"].sum())
            best = ", ".join(f"{one.best_head} ×{one.episodes}" for one in mine.head(4).itertuples())
            theirs = authors.matched(row.way.trained, row.way.code) if row.way.method == POLICY else None
            lines.append(
                (
                    said(task),
                    row.label,
                    row.end.text(3),
                    ", ".join(number(value, 3) for value in row.found.at_end().mean(1) / row.found.oracle.mean()),
                    row.speed.text(3),
                    number(float(row.found.reach(0.9).mean()), 1),
                    f"{int(mine['hits'].sum())} of {total}",
                    best,
                    number(theirs, 3) if task == authors.HELD_OUT else "–",
                )
            )
    header = (
        *("task", "search", "share at the end [95 %]", "each seed", "over the steps [95 %]"),
        *("steps to 90 % of own end", "best is the oracle's", "best heads", "published, matched"),
    )
    return Table(header, tuple(lines), words=(0, 1, 7))
