"""Concept vectors beside latents that follow TD errors and values in the same model."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import Reader, StudyFacts
from jobs.report.welfare_axis.bridge import ALPHA, Bridged, read_bridge
from jobs.report.welfare_axis.trainings import primary
from jobs.report.welfare_axis.vectors import CONCEPTS
from tdlens.figures import GREY, canvas, number, whole_numbers

NAME = "bridge"
TITLE = "Bridge: do the vectors share directions with latents of TD errors and values?"
OVERLAY = "none: the paper looks for no learning signals, and the study of TD latents for no welfare"

FIRST = ("td_error", "q_chosen")
"""Signals that are drawn first."""
DRAWN = 3
"""Signals in the figure; all are in the table."""


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Rows: signals; columns: cosine and share in the span; over the blocks of the first study's first autoencoder."""
    found = read_bridge(reader, primary(facts))
    sae = found[0].sae
    signals = sorted({one.signal for one in found if one.sae == sae}, key=_rank)[:DRAWN]
    figure, axes = canvas(len(signals), 2, height=2.2 * len(signals) + 0.8, sharex=True, sharey="col")
    for across, signal in zip(axes, signals, strict=True):
        mine = [one for one in found if (one.sae, one.signal) == (sae, signal)]
        _cosines(across[0], mine)
        _shares(across[1], mine)
        across[0].set(title=f"{signal}: cosine with the latents' sum", ylabel="cosine")
        across[1].set(title=f"{signal}: share within their span", ylabel="share of the squared norm")
    for ax in axes[-1]:
        ax.set(xlabel="block")
        whole_numbers(ax)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7.8)
    return Drawing(
        figure,
        sees=_sees(found),
        beside=(
            "Latents are of the naive model, found by playing another task, and chosen by their partial correlation "
            "with the signal; their decoder rows are summed, each with the sign of its r. Bands hold 95 % of equally "
            "large sets of other latents that fire as often: a vector that lies where most of the stream's variance "
            "does is close to any latents. The naive model's own vectors (thin) tell what was there before the maze. "
            f"Filled points are significant after Holm's correction over all tests of a source (p ≤ {ALPHA:g})."
        ),
        n=f"{max(one.n_latents for one in found)} latents a set; {len(found)} comparisons in "
        f"{len({(one.sae, one.block) for one in found})} autoencoders",
        table=_table(found),
    )


def _rank(signal: str) -> tuple[int, str]:
    return FIRST.index(signal) if signal in FIRST else len(FIRST), signal


def _lines(mine: list[Bridged]) -> list[tuple[str, str, float, list[Bridged]]]:
    kinds = [(concept, colour, 1.8) for concept, colour in CONCEPTS.items()]
    kinds += [(f"untrained {concept}", colour, 0.8) for concept, colour in CONCEPTS.items()]
    several = [(name, colour, width, [one for one in mine if one.concept == name]) for name, colour, width in kinds]
    return [(name, colour, width, sorted(rows, key=lambda one: one.block)) for name, colour, width, rows in several]


def _cosines(ax: Axes, mine: list[Bridged]) -> None:
    for name, colour, width, rows in _lines(mine):
        if not rows:
            continue
        x = [one.block for one in rows]
        if width > 1:
            ax.fill_between(
                x, [one.null.low for one in rows], [one.null.high for one in rows], color=colour, alpha=0.13
            )
        ax.plot(x, [one.cosine for one in rows], color=colour, linewidth=width, label=_said(name))
        _dots(ax, [(one.block, one.cosine, one.adjusted) for one in rows], colour)
    ax.axhline(0, color=GREY, linewidth=0.7)


def _shares(ax: Axes, mine: list[Bridged]) -> None:
    for _, colour, width, rows in _lines(mine):
        if not rows:
            continue
        x = [one.block for one in rows]
        if width > 1:
            ax.fill_between(x, 0, [one.share_high for one in rows], color=colour, alpha=0.13)
        ax.plot(x, [one.share for one in rows], color=colour, linewidth=width)
        _dots(ax, [(one.block, one.share, one.share_adjusted) for one in rows], colour)
    ax.set(ylim=(0, None))


def _dots(ax: Axes, points: list[tuple[int, float, float]], colour: str) -> None:
    for x, y, p in points:
        ax.plot([x], [y], "o", color=colour, markerfacecolor=colour if p <= ALPHA else "white", markersize=4.5)


def _said(name: str) -> str:
    return f"{name.removeprefix('untrained ').capitalize()}{', naive model' if name.startswith('untrained') else ''}"


def _sees(found: list[Bridged]) -> str:
    mine = [one for one in found if not one.concept.startswith("untrained")]
    largest = max(mine, key=lambda one: abs(one.cosine))
    clear = sum(one.adjusted <= ALPHA for one in mine)
    spans = sum(one.share_adjusted <= ALPHA for one in mine)
    return (
        f"Of {len(mine)} comparisons of the trained model's vectors, {clear} cosines and {spans} shares lie beyond "
        f"matched latents after correction. The largest cosine: {largest.concept} with {largest.signal}, block "
        f"{largest.block}, {number(largest.cosine)} (matched sets {number(largest.null.low)} to "
        f"{number(largest.null.high)})."
    )


def _table(found: list[Bridged]) -> Table:
    ordered = sorted(found, key=lambda one: (np.nan_to_num(one.adjusted, nan=2), -abs(one.cosine)))[:24]
    rows = [
        (
            _said(one.concept), one.signal, f"{one.sae}/{one.block}", number(one.cosine, 3),
            f"{number(one.null.low, 3)} to {number(one.null.high, 3)}", number(one.adjusted, 3),
            number(one.share, 3), number(one.share_high, 3), number(one.share_adjusted, 3),
        )
        for one in ordered
    ]  # fmt: skip
    header = (
        *("vector", "signal", "autoencoder/block", "cosine", "matched 95 %", "p, Holm"),
        *("share", "matched, 95 % below", "p, Holm"),
    )
    return Table(header, tuple(rows), words=(0, 1, 2))
