"""Discovery curves: how good the best head so far is after each ablation."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.head_ablation import authors
from jobs.report.head_ablation.matched import share
from jobs.report.head_ablation.panels import draw_curves, heading, legend_below, task_panels
from jobs.report.head_ablation.searches import (
    LIST,
    POLICY,
    RANDOM,
    Found,
    Way,
    count_heads,
    held_out_tasks,
    kinds,
    read_found,
    said,
    trained_tasks,
    usual,
)
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import GREY, level, number, published

NAME = "discovery"
TITLE = "Discovery: the best head so far, after each ablation"
OVERLAY = (
    "docstring: GPT-2 small's curves of result files of the paper (30 episodes), as shares of its oracle (the first 15 "
    "of these episodes), over the share of its 144 heads"
)

SHARES = (-0.05, 1.16)
"""The axis."""


def read_usual(reader: Reader, facts: StudyFacts) -> dict[str, dict[Way, Found]]:
    """The ways that are compared on each of the study's tasks that has searches.

    Raises:
        NotRecorded: none has.
    """
    found, missing = {}, NotRecorded("searches (stage search)")
    for task in [*trained_tasks(facts), *held_out_tasks(facts)]:
        try:
            found[task] = usual(read_found(reader, facts, task), facts, task)
        except NotRecorded as reason:
            missing = reason
    if not found:
        raise missing
    return found


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A panel a task: share of the oracle over heads tried."""
    tasks, heads = read_usual(reader, facts), count_heads(reader, facts)
    figure, axes = task_panels(len(tasks), sharey=True)
    for ax, (task, ways) in zip(axes, tasks.items(), strict=True):
        if task == authors.HELD_OUT:
            _published(ax, kinds(facts))
        for way, one in ways.items():
            draw_curves(ax, way, 100 * np.arange(1.0, one.steps + 1) / heads, one.curve(), way.label)
        level(ax, 1, "oracle: the best head of each episode", align="left", linestyle="-", color=GREY)
        steps = max(one.steps for one in ways.values())
        ax.set(title=heading(facts, task), xlim=(0, 100 * (steps + 0.3) / heads), ylim=SHARES)
        ax.set(xlabel=f"heads tried, % of {heads}" if ax in axes[-2:] else "")
        ax.set(ylabel="share of the oracle" if ax in axes[::2] else "")
    legend_below(figure, axes)
    first = next(iter(tasks.values()))
    one = next(iter(first.values()))
    return Drawing(
        figure,
        sees=_sees(tasks, facts),
        beside=(
            "An episode lets a good share of all heads be tried, so that its end tells little: even random heads come "
            "far, and what differs is how soon the best is tried (column over the steps). Policies are told the task "
            "that they were trained on, and nothing on held-out ones; thin lines are their trainings, one seed each. "
            "Scores below 0, of heads that do harm, count as 0. Steps cost the same of all ways drawn here but for "
            "what is computed beforehand: see the next figure."
        ),
        n=f"{len(one.episodes)} episodes of each task, the same for all; policies of {len(one.seeds)} seeds",
        table=_table(tasks, facts),
    )


def _published(ax: Axes, trained: tuple[int, int]) -> None:
    steps, curves = authors.curves()
    tried = [100 * step / authors.HEADS for step in steps]
    shown = {name: curve for name, curve in curves.items() if name in (RANDOM, *(f"K = {k}" for k in trained))}
    for (name, curve), style in zip(shown.items(), ((0, (4, 2)), (0, (1, 1.2)), (0, (5, 1, 1, 1))), strict=False):
        published(ax, tried, curve, f"{name} (published)", linestyle=style)


def _sees(tasks: dict[str, dict[Way, Found]], facts: StudyFacts) -> str:
    parts = []
    for task, ways in tasks.items():
        told = [
            f"{way.label.removeprefix('policy, ')} {number(100 * _share(one.per_step(), one), 0)} %"
            for way, one in ways.items()
            if way.method in (POLICY, LIST, RANDOM)
        ]
        parts.append(f"{said(task)}: {', '.join(told)}")
    return (
        "Mean over the steps of the best score so far, as a share of the best possible in the same episode (the sooner "
        f"the best head is tried the higher). {'; '.join(parts)}. K is the number of heads tried at each step of "
        f"training, of which the best was executed ({' or '.join(map(str, kinds(facts)))}); here it is one."
    )


def _share(values: np.ndarray, one: Found) -> float:
    return float(values.mean() / one.oracle.mean())


def _table(tasks: dict[str, dict[Way, Found]], facts: StudyFacts) -> Table:
    rows = []
    for task, ways in tasks.items():
        for way, one in ways.items():
            seeds = ", ".join(number(value.mean() / one.oracle.mean(), 3) for value in one.at_end())
            rows.append(
                (
                    said(task),
                    way.label,
                    share(one, Found.per_step).text(3),
                    share(one).text(3),
                    seeds,
                    number(float(one.reach(0.9).mean()), 1),
                )
            )
    header = ("task", "search", "over the steps [95 %]", "at the end [95 %]", "each seed, at the end", "steps to 90 %")
    return Table(header, tuple(rows), words=(0, 1))
