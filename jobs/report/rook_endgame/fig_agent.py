"""How well the agent plays, between random and best play, beside the author's agents."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing
from jobs.report.reader import Reader, StudyFacts
from jobs.report.rook_endgame import authors
from jobs.report.rook_endgame.play import AGENT, NAN, OUTCOMES, Played, n_games, read_metrics, read_yardsticks
from jobs.report.verdicts import Interval
from tdlens.figures import GREY, INK, PUBLISHED, canvas, number

NAME = "agent"
TITLE = "The agent"
OVERLAY = "the author's three agents, 3,000 games each, replayed from their checkpoints"

NAMES = {"optimal": "best play", "random": "random play"}


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: return per game. Right: how the games end."""
    metrics, others = read_metrics(reader, facts), read_yardsticks(reader)
    shares = {name: metrics[name].value for name in OUTCOMES if name in metrics}
    agent = Played(metrics["return"], shares, n_games(reader, facts))
    rows = [
        (f"{facts.model_label} (ours)", agent, AGENT),
        *((f"author's, {_layers(row)}", _played(row), PUBLISHED) for row in authors.agents()),
        *((NAMES[policy], one, GREY) for policy, one in sorted(others.items())),
    ]
    figure, axes = canvas(1, 2, height=0.42 * len(rows) + 1.5, sharey=True, width_ratios=(1.1, 1))
    left, right = axes[0]
    places = list(range(len(rows)))[::-1]
    for place, (_, one, colour) in zip(places, rows, strict=True):
        _bar(left, place, one.returns, colour)
        _ends(right, place, one.shares, 0.55 if colour == PUBLISHED else 0.9)
    left.axvline(0, color=GREY, linewidth=0.9)
    ceiling, exact = metrics.get("ceiling"), metrics.get("expected_return")
    if ceiling is not None:
        left.axvline(ceiling.value, color=GREY, linestyle=":", linewidth=1.2)
    lowest, highest = (extreme(one.returns.value for _, one, _ in rows) for extreme in (min, max))
    room = 0.2 * (highest - lowest)
    left.set(title="Return per game", xlabel="points, mean [95 %]", xlim=(min(lowest, 0) - room, highest + room))
    left.set(yticks=places, yticklabels=[name for name, _, _ in rows])
    left.grid(axis="y", visible=False)
    right.set(title="How games end", xlabel="share of games", xlim=(0, 1))
    right.grid(visible=False)
    handles = [right.barh(0, 0, color=colour) for colour in OUTCOMES.values()]
    labels = [name.replace("_", "-") for name in OUTCOMES]
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), columnspacing=1, handlelength=1)
    theirs = authors.agents()[0]
    games = f", {min(one.games for one in others.values()):,} each of random and best play" if others else ""
    return Drawing(
        figure,
        sees=(
            f"{facts.model_label} earns {agent.returns.text(1)} points a game and mates in "
            f"{number(100 * shares.get('checkmate', NAN), 1)} % of them; the author's agent of {theirs['width']} units "
            f"earned {number(theirs['return'], 1)} and mated in {number(100 * theirs['mate'], 1)} %."
            + (f" Over all starting boards it would earn {number(exact.value, 1)} exactly." if exact else "")
        ),
        beside=(
            (f"No player can earn more than {number(ceiling.value, 1)} on average (dotted line). " if ceiling else "")
            + "All players meet the same starting boards and the same ties of the scripted king. Of the author's other "
            "agents only returns and mates are known, so their bars end early."
        ),
        n=f"{agent.games:,} games{games}",
    )


def _layers(row: dict[str, Any]) -> str:
    return f"{1 if row['variant'] == 'one_layer' else 2} × {row['width']} units"


def _played(row: dict[str, Any]) -> Played:
    """One of the author's agents; of some only the mates are known."""
    shares = {"checkmate": row["mate"], **{name: row[name] for name in ("time_out", "illegal", "blunder")}}
    known = {name: float(share) for name, share in shares.items() if np.isfinite(share)}
    return Played(Interval(float(row["return"]), NAN, NAN), known, 3000)


def _bar(ax: Axes, place: int, returns: Interval, colour: str) -> None:
    low, high = (returns.low, returns.high) if returns.known else (returns.value, returns.value)
    others = colour == PUBLISHED
    ax.barh(
        place,
        returns.value,
        height=0.6,
        facecolor="none" if others else colour,
        edgecolor=colour,
        linestyle="--" if others else "-",
        linewidth=1.1,
        xerr=[[returns.value - low], [high - returns.value]] if returns.known else None,
        error_kw={"ecolor": INK},
    )
    side = 1 if returns.value >= 0 else -1
    ax.annotate(
        number(returns.value, 1),
        (high if side > 0 else low, place),
        (5 * side, 0),
        textcoords="offset points",
        va="center",
        ha="left" if side > 0 else "right",
        fontsize=8.5,
        fontweight="bold" if colour == AGENT else "normal",
    )


def _ends(ax: Axes, place: int, shares: dict[str, float], alpha: float) -> None:
    start = 0.0
    for outcome, colour in OUTCOMES.items():
        share = shares.get(outcome, 0.0)
        ax.barh(place, share, left=start, color=colour, height=0.6, alpha=alpha)
        if share > 0.07:
            text: Any = {"ha": "center", "va": "center", "color": "white", "fontsize": 8, "fontweight": "bold"}
            ax.text(start + share / 2, place, f"{100 * share:.0f} %", **text)
        start += share
