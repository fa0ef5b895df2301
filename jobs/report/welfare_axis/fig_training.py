"""Trainings in the maze: return and tiles entered at each step, and how models play in mazes that they never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jobs.report.claims import or_none, shown
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval
from jobs.report.welfare_axis.trainings import (
    CHOICES,
    NAIVE,
    Choices,
    Returns,
    Training,
    above_naive,
    read_choices,
    read_progress,
    read_returns,
    rise,
    trainings,
)
from tdlens.figures import GREY, INK, blank, canvas, intervals, number, whole_numbers

NAME = "training"
TITLE = "Learning in the maze"
OVERLAY = "none: the paper's curves are drawn without numbers"

PANELS = (
    ("mean_return", "return of a rollout", "points"),
    ("golds", "Gold entered", "tiles a rollout"),
    ("molds", "Mold entered", "tiles a rollout"),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Three curves over the steps, and held-out returns of all models."""
    progress = read_progress(reader, facts)
    returns, choices = or_none(lambda: read_returns(reader, facts)) or {}, read_choices(reader, facts)
    several = [one for one in trainings(facts) if one.name in progress]
    figure, axes = canvas(2, 2, height=6.0)
    played = [one for one in several if progress[one.name]["mean_return"].notna().any()]
    for ax, (column, title, unit) in zip(axes.flat, PANELS, strict=False):
        for one in played:
            steps = progress[one.name].dropna(subset=[column])
            style: dict[str, Any] = {"linewidth": 1.1} if one.shuffled else {}
            style |= {} if one.plays else {"marker": "o"}
            ax.plot(steps["step"], _smooth(steps.set_index("step")[column]), color=one.colour, label=one.said, **style)
            if one.plays:
                ax.plot(steps["step"], steps[column], color=one.colour, linewidth=0.5, alpha=0.35)
        ax.set(title=title, xlabel="step of training", ylabel=unit)
        whole_numbers(ax)
    _held_out(axes[1, 1], returns, several)
    if played:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    settings = facts.config["task"].get("settings", {})
    return Drawing(
        figure,
        sees=_sees(progress, returns, several),
        beside=(
            "Returns in training are of mazes drawn afresh for each step, played before the step's learning; thin "
            "lines are single steps, thick ones means of the five around each. A training that is told shuffled "
            "rewards is the control: it sees as many mazes and updates, but what it is rewarded for is another "
            "rollout's. One that imitates learns nothing from playing, and plays at a few steps alone (points). "
            "Held-out returns are of the same mazes for all models that see the same tiles, at the temperature of "
            "training; the swap gives Mold's picture to Gold and the other way round, so that the naive model is "
            "judged for each. Gold taken and Mold avoided (table) are "
            "shares of the moves at which there was such a tile and another to choose from, so that neither luck nor "
            "the number of tiles met counts."
        ),
        n=f"{', '.join(f'{one.name} {one.steps} steps' for one in several)}; {_mazes(returns)}; "
        f"mazes of {settings.get('size', 31)} × {settings.get('size', 31)}, {settings.get('turns', 15)} turns",
        table=_table(progress, returns, choices, several),
    )


def _smooth(values: pd.Series[float]) -> pd.Series[float]:
    """Of values by step: means over the steps no farther away than two."""
    near = [values[(values.index >= step - 2) & (values.index <= step + 2)].mean() for step in values.index]
    return pd.Series(near, index=values.index)


def _held_out(ax: Axes, returns: Returns, several: list[Training]) -> None:
    if not returns:
        blank(ax, "play in held-out mazes is not recorded")
        return
    colours = {one.name: one.colour for one in several}
    order = sorted(returns, key=lambda key: (list(colours).index(key[0]) if key[0] in colours else -1, key[1]))
    heights = np.arange(len(order))[::-1]
    for height, key in zip(heights, order, strict=True):
        one = mean_interval(returns[key].tolist()) or Interval(float(returns[key].mean()), np.nan, np.nan)
        intervals(ax, [one.value], [one.low], [one.high], [height], colours.get(key[0], INK))
    ax.set(yticks=heights, yticklabels=[_label(key) for key in order], ylim=(-0.6, len(order) - 0.4))
    ax.set(title="held-out mazes", xlabel="return, points")
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.grid(axis="y", visible=False)


def _label(key: tuple[str, str]) -> str:
    name, variant = key
    return name if variant == "standard" else f"{name}, {variant} tiles" if name == NAIVE else name


def _mazes(returns: Returns) -> str:
    counts = {len(one) for one in returns.values()}
    return f"{min(counts)} held-out mazes a model" if counts else "no held-out mazes"


def _sees(progress: dict[str, pd.DataFrame], returns: Returns, several: list[Training]) -> str:
    parts = []
    for one in several:
        told = []
        gained = rise(progress[one.name]) if one.plays else None
        if gained is not None:
            told.append(f"return rises by {gained.text(1)} from the first to the last fifth of the steps")
        lead = above_naive(returns, one)
        if lead is not None:
            told.append(f"{lead.text(1)} above the naive model in the same held-out mazes")
        parts.append(f"{one.said}: {'; '.join(told) or 'nothing to compare'}")
    return f"{'. '.join(part[0].upper() + part[1:] for part in parts)}."


def _table(progress: dict[str, pd.DataFrame], returns: Returns, choices: Choices, several: list[Training]) -> Table:
    rows = []
    for one in several:
        last = progress[one.name].tail(5)
        mine = returns.get((one.name, one.variant))
        rows.append(
            (
                one.said,
                str(one.seed),
                *(number(last[column].mean(), 1) for column, _, _ in PANELS),
                shown(mean_interval(mine.tolist()) if mine is not None else None, 1),
                shown(above_naive(returns, one), 1),
                *(
                    " / ".join(shown(choices.get((name, one.variant, choice))) for name in (one.name, NAIVE))
                    for choice in CHOICES
                ),
            )
        )
    header = (
        *("training", "seed", "return, last 5 steps", "Gold", "Mold"),
        *("held-out return [95 %]", "above naive [95 %]"),
        *(f"{said}: trained / naive" for said in CHOICES.values()),
    )
    return Table(header, tuple(rows))
