"""Several heads tried at each step: in training, at evaluation, or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation.matched import share
from jobs.report.head_ablation.panels import keep_shares, task_panels
from jobs.report.head_ablation.searches import (
    NO_CODE,
    POLICY,
    Found,
    Way,
    budget_of,
    held_out_tasks,
    own_code,
    read_found,
    said,
    trained_tasks,
)
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from tdlens.figures import GREY, intervals, number

NAME = "planning"
TITLE = "Trying several heads a step, in training and at evaluation"
OVERLAY = (
    "none: the paper's abstract ascribes the transfer to planning with the best of five, but its released evaluation "
    "samples one head a step from a policy that was trained with five"
)


@dataclass(frozen=True)
class Planned:
    """One kind of training under one kind of evaluation."""

    way: Way
    found: Found
    steps: Interval
    """Share of the oracle, mean over as many steps."""
    passes: Interval
    """Mean over as many forward passes."""

    @property
    def label(self) -> str:
        """For an axis."""
        return f"trained K = {self.way.trained}, run with {self.way.best_of}"


def read_planned(reader: Reader, facts: StudyFacts, task: str) -> list[Planned]:
    """Every policy by K in training and at evaluation, told what is usual in the task.

    Raises:
        NotRecorded: there was no search.
    """
    found = read_found(reader, facts, task)
    budget, code = budget_of(found), own_code(facts, task)
    ways = sorted(
        (way for way in found if (way.method, way.code) == (POLICY, code)), key=lambda way: (way.trained, way.best_of)
    )
    if not ways or budget is None:
        raise NotRecorded(f"policies in episodes of {said(task)} (stage search)")
    return [
        Planned(
            way,
            found[way],
            share(found[way], Found.per_step),
            share(found[way], lambda one: one.per_pass(budget)),
        )
        for way in ways
    ]


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a task: filled at equal forward passes, hollow at equal steps."""
    tasks: dict[str, list[Planned]] = {}
    missing = NotRecorded("policies (stage search)")
    for task in [*trained_tasks(facts), *held_out_tasks(facts)]:
        try:
            tasks[task] = read_planned(reader, facts, task)
        except NotRecorded as reason:
            missing = reason
    if not tasks:
        raise missing
    most = max(len(rows) for rows in tasks.values())
    figure, axes = task_panels(len(tasks), row=0.34 * most + 1.1, sharex=True)
    for ax, (task, rows) in zip(axes, tasks.items(), strict=True):
        _panel(ax, rows)
        told = "told nothing" if own_code(facts, task) == NO_CODE else "told the task"
        ax.set(title=f"{said(task)} · {told}", xlabel="share of the oracle" if ax in axes[-2:] else "")
    keep_shares(axes)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return Drawing(
        figure,
        sees=_sees(tasks),
        beside=(
            "With several heads tried at each step of an episode more is found in as many steps, since more is tried; "
            "at equal forward passes that is no gain by itself. Means over passes count 0 until the first head has "
            "been tried, so that even the oracle stays below 1. Whether a policy transfers because of how it was "
            "trained or of how it is run is told apart by the rows that differ in one of the two. Intervals that leave "
            "the axis stand in the table."
        ),
        n="the same episodes and seeds as above",
        table=_table(tasks),
    )


def _panel(ax: Axes, rows: list[Planned]) -> None:
    heights = np.arange(len(rows))[::-1].astype(float)
    for height, row in zip(heights, rows, strict=True):
        first = height == heights[0]
        for one, offset, label, style in (
            (row.passes, 0.13, "mean over as many forward passes", {}),
            (row.steps, -0.13, "mean over as many steps", {"markerfacecolor": "white", "elinewidth": 0.9}),
        ):
            intervals(
                ax, [one.value], [one.low], [one.high], [height + offset], row.way.colour,
                label=label if first else None, **style,
            )  # fmt: skip
    ax.axvline(1, color=GREY, linewidth=1)
    ax.set(yticks=heights, yticklabels=[row.label for row in rows], ylim=(-0.6, len(rows) - 0.4))
    ax.grid(axis="y", visible=False)


def _sees(tasks: dict[str, list[Planned]]) -> str:
    parts = []
    for task, rows in tasks.items():
        told = [f"{row.way.trained} and {row.way.best_of}: {number(row.passes.value)}" for row in rows]
        parts.append(f"{said(task)}: {', '.join(told)}")
    return (
        "Mean share of the oracle over as many forward passes as one head a step takes, by K in training and K at "
        f"evaluation. {'. '.join(part[0].upper() + part[1:] for part in parts)}."
    )


def _table(tasks: dict[str, list[Planned]]) -> Table:
    rows = [
        (
            said(task),
            f"K = {one.way.trained}",
            f"K = {one.way.best_of}",
            one.passes.text(3),
            one.steps.text(3),
            number(float(one.found.at_end().mean() / one.found.oracle.mean()), 3),
            number(float(one.found.passes[:, :, -1].mean()), 0),
        )
        for task, planned in tasks.items()
        for one in planned
    ]
    header = (
        *("task", "trained with", "run with", "over as many passes [95 %]", "over as many steps [95 %]"),
        *("at the end of episodes", "passes of an episode"),
    )
    return Table(header, tuple(rows), words=(0, 1, 2))
