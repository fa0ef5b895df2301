"""What an autoencoder keeps of the layer, over the number of latents that may be active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame import authors
from jobs.report.rook_endgame.play import SPLICE, Effects, Trained, read_effects, read_trained
from jobs.report.verdicts import Interval
from tdlens.figures import BLUE, GREEN, PUBLISHED_LINE, VERMILION, canvas, level, number, published

NAME = "over_k"
TITLE = "Reconstruction and play over k"
OVERLAY = "TopK autoencoders of the author's agent of 128 units, run again from their checkpoints"

BASELINES = (("mean_layer", "at its mean"), ("zero_layer", "at zero"))
THEIRS = {
    "agreement": "agreement",
    "agreement_all": "agreement_all",
    "fvu": "fvu",
    "fvu_all": "fvu_all",
    "return": "spliced_return",
    "checkmate": "mate",
}
"""Our metric and the author's column."""
VARIANTS = {
    "512_latents": "512 latents",
    "transpose_1": "resampled, transpose 1",
    "transpose_2": "resampled, transpose 2",
}
LEGEND: dict[str, Any] = {"frameon": True, "edgecolor": "none", "framealpha": 0.85}
MARKERS = ("D", "^", "v", "s", "P", "X")
"""Of the autoencoders outside the series over k."""


@dataclass(frozen=True)
class Spliced:
    """An autoencoder with the metrics of games in which its reconstruction took the layer's place."""

    sae: Trained
    metrics: dict[str, Interval]


def read_spliced(reader: Reader, facts: StudyFacts) -> list[Spliced]:
    """Those that were spliced in, by the number of active latents.

    Raises:
        NotRecorded: none was.
    """
    effects = read_effects(reader)
    found = [
        Spliced(sae, {metric: effects.level(f"{sae.name}_{SPLICE}", metric) for metric in THEIRS})
        for sae in read_trained(reader, facts)
        if f"{sae.name}_{SPLICE}" in effects.interventions
    ]
    if not found:
        raise NotRecorded("games with an autoencoder spliced in (stage splice)")
    return sorted(found, key=lambda one: one.sae.active)


def plain(spliced: list[Spliced]) -> list[Spliced]:
    """Those that differ in k alone."""
    return [one for one in spliced if one.sae.plain]


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Agreement, unexplained variance, return and mates; active latents along the x axis."""
    spliced, effects = read_spliced(reader, facts), read_effects(reader)
    figure, axes = canvas(2, 2, height=6.8, sharex=True)
    agreement, unexplained, returns, mates = axes.flat
    for ax, metric, colour, where in (
        (agreement, "agreement", BLUE, "in play"),
        (agreement, "agreement_all", VERMILION, "all boards"),
        (unexplained, "fvu", BLUE, "in play"),
        (unexplained, "fvu_all", VERMILION, "all boards"),
        (returns, "return", BLUE, facts.model_label),
        (mates, "checkmate", GREEN, facts.model_label),
    ):
        whole = metric.endswith("_all")
        label = "the author's" if where == facts.model_label else f"{where}, the author's"
        rows, line = authors.over_k(), ":" if whole else PUBLISHED_LINE
        x, y = [row["k"] for row in rows], [row[THEIRS[metric]] for row in rows]
        published(ax, x, y, label, marker="s", markersize=3, markerfacecolor="white", linestyle=line)
        _series(ax, plain(spliced), metric, colour, marker="o", label=where)
        others = [one for one in spliced if not one.sae.plain]
        for one, marker in zip(others, MARKERS, strict=False):
            name = one.sae.name if ax is mates else None
            _series(ax, [one], metric, colour, marker=marker, markerfacecolor="white", label=name, linestyle="none")
    _baselines(returns, effects, "return", 0)
    _baselines(mates, effects, "checkmate", 2)
    mean = effects.value(BASELINES[0][0], "agreement")
    if mean is not None:
        level(agreement, mean, "layer at its mean", align="left")
    agreement.set(title="Same action as without it", ylabel="share of boards", ylim=(None, 1.02))
    unexplained.set(title="Variance left unexplained", ylabel="FVU (log scale)", yscale="log")
    below = "latents active on a board"
    returns.set(title="Return with the reconstruction spliced in", ylabel="points a game", xlabel=below)
    mates.set(title="Games won by mate", ylabel="share of games", xlabel=below, ylim=(-0.03, 1.12))
    low, high = returns.get_ylim()
    returns.set_ylim(low, high + 0.12 * (high - low))
    for ax, place in ((agreement, "lower right"), (returns, "upper left")):
        ax.legend(loc=place, **LEGEND)
    mates.legend(loc="lower right", bbox_to_anchor=(1, 0.08), **{**LEGEND, "fontsize": 7.5})
    intact = effects.intact("return")
    return Drawing(
        figure,
        sees=_sees(plain(spliced), intact),
        beside=(
            "Small errors of reconstruction can cost whole games: an action that differs on one board in ten is enough "
            "to lose the thread of a mate. Intervals are those of the change against the agent's same games and, of "
            "actions in play, over rollouts. Hollow marks in colour are the study's other autoencoders (table). Each "
            "is of one seed."
        ),
        n=f"{effects.games:,} games with each replacement",
        table=_table(spliced),
    )


def _series(ax: Axes, several: list[Spliced], metric: str, colour: str, **style: object) -> None:
    found = [one.metrics[metric] for one in several]
    values = np.array([one.value for one in found])
    error = np.array([[one.value - one.low for one in found], [one.high - one.value for one in found]])
    error = np.clip(np.nan_to_num(error), 0, None)
    ax.errorbar([one.sae.active for one in several], values, yerr=error, color=colour, elinewidth=1.3, **style)  # type: ignore[arg-type]


def _baselines(ax: Axes, effects: Effects, metric: str, digits: int) -> None:
    """Lines of the agent as it is and of the layer at a constant; two constants that do alike share one."""
    intact = effects.intact(metric)
    if intact is not None:
        level(ax, intact, f"agent as it is ({number(intact, digits)})")
    marks = [(value, name) for key, name in BASELINES if (value := effects.value(key, metric)) is not None]
    if len(marks) > 1 and abs(marks[0][0] - marks[1][0]) < 0.06 * max(np.ptp(ax.get_ylim()), 1e-9):
        marks = [(marks[0][0], " or ".join(name for _, name in marks))]
    for value, name in marks:
        level(ax, value, f"layer {name} ({number(value, digits)})")


def _sees(series: list[Spliced], intact: float | None) -> str:
    if not series:
        return "This study has no series of TopK autoencoders over k."
    first, last = series[0], series[-1]

    def both(metric: str, digits: int, factor: float = 1) -> str:
        return " to ".join(number(factor * one.metrics[metric].value, digits) for one in (first, last))

    theirs = [number(row["spliced_return"], 1) for row in authors.over_k()]
    return (
        f"From k = {first.sae.k} to k = {last.sae.k} the variance in play left unexplained goes from "
        f"{both('fvu', 2, 100)} %, the share of boards in play on which the action stays the same from "
        f"{both('agreement', 2)}, and the return with the reconstruction in the layer's place from "
        f"{both('return', 1)} points; the agent itself earns {number(intact, 1)} in these games. With the author's "
        f"autoencoders it went from {theirs[0]} to {theirs[-1]}, of {number(authors.agents()[0]['return'], 1)}."
    )


def _table(spliced: list[Spliced]) -> Table:
    header = (
        *("autoencoder", "active", "latents", "FVU in play", "all boards"),
        *("same action in play", "all boards", "return", "mates"),
    )
    rows: list[tuple[str, list[float]]] = [
        (one.sae.name, [one.sae.active, one.sae.latents, *(one.metrics[metric].value for metric in _COLUMNS)])
        for one in spliced
    ]
    for row in authors.autoencoders():
        name = VARIANTS.get(row["variant"], row["variant"]) or f"k = {row['k']}"
        numbers = [float(row["k"]), float(row["latents"]), *(float(row[THEIRS[metric]]) for metric in _COLUMNS)]
        rows.append((f"author's, {name}", numbers))
    digits = (1, 0, 4, 4, 3, 3, 1, 3)
    lines = [(name, *(number(x, d) for x, d in zip(numbers, digits, strict=True))) for name, numbers in rows]
    return Table(header, tuple(lines))


_COLUMNS = ("fvu", "fvu_all", "agreement", "agreement_all", "return", "checkmate")
