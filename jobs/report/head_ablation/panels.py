"""Panels of the study's tasks, and the curves in them."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from jobs.report.head_ablation.searches import POLICY, Floats, Way, said, trained_tasks
from jobs.report.reader import StudyFacts
from tdlens.figures import WIDTH, canvas


def task_panels(n: int, *, row: float = 3.1, columns: int = 2, **options: Any) -> tuple[Figure, list[Axes]]:
    """Axes for n tasks, in rows of at most `columns`; those left over are hidden."""
    columns = min(n, columns)
    rows = -(-n // columns)
    width = WIDTH if columns > 1 else 0.65 * WIDTH
    figure, axes = canvas(rows, columns, height=row * rows + 0.5, width=width, **options)
    several = list(axes.flat)
    for ax in several[n:]:
        ax.set_visible(False)
    return figure, several[:n]


def heading(facts: StudyFacts, task: str) -> str:
    """A task's name, and whether policies were trained on it."""
    return f"{said(task)} · {'trained on' if task in trained_tasks(facts) else 'held out'}"


def keep_shares(axes: list[Axes]) -> None:
    """Cut the axis of drawn panels a little below 0, where intervals of few seeds may lead but no share lies."""
    left = min(ax.get_xlim()[0] for ax in axes)
    for ax in axes:
        ax.set_xlim(left=max(left, -0.1))


def plain_log(ax: Axes, last: float) -> None:
    """Few ticks with plain numbers on a logarithmic axis of x up to ``last``."""
    ticks = [base * 10**power for power in range(7) for base in (1, 2, 5) if base * 10**power <= last]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def draw_curves(ax: Axes, way: Way, x: Floats, curves: Floats, label: str | None, *, steps: bool = False) -> None:
    """A line for the mean over seeds, and of a policy a thin one for each; x [T], curves [S, T].

    Args:
        steps: whether values hold until the next rather than lie on a line with it.
    """
    learned, style = way.method == POLICY, "steps-post" if steps else "default"
    if learned and len(curves) > 1:
        for curve in curves:
            ax.plot(x, curve, color=way.colour, linewidth=0.7, alpha=0.45, zorder=2.4, drawstyle=style)
    # where two policies are alike, the narrower line shows both
    width, order = (2.8 if way.trained == 1 else 1.5, 2.6) if learned else (1.2, 2.2)
    ax.plot(x, curves.mean(0), color=way.colour, linewidth=width, zorder=order, label=label, drawstyle=style)


def legend_below(figure: Figure, axes: list[Axes], columns: int = 4) -> None:
    """One legend for all panels: each label once."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)
