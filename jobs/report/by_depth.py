"""The strongest correlation in each block: the paper's statistic on the left, honest selection on the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import (
    PAPER_BLOCKS,
    Groups,
    best,
    by_block,
    highest,
    selected,
    signals_of,
    threshold_of,
    thresholds,
)
from jobs.report.verdicts import percent
from tdlens.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, canvas, number, published

CONTROLS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("raw", "raw dimensions", ORANGE, {}),
    ("pca", "principal components", GREEN, {}),
    ("untrained", "untrained model, raw", PURPLE, {}),
    ("shuffled", "shuffled signals", GREY, {"linestyle": ":"}),
)


@dataclass(frozen=True)
class Line:
    """A group of signals as one curve."""

    group: str
    label: str
    column: str
    """Its published curve."""
    colour: str
    linestyle: Any
    """Of the published curve."""


@dataclass(frozen=True)
class Row:
    """Two panels on one kind of signal; the first line is the one that is put beside the controls."""

    panel: str
    kind: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Found:
    """What a study has on some groups of signals."""

    highest: pd.DataFrame
    selected: pd.DataFrame
    thresholds: pd.DataFrame
    groups: Groups


def read_found(reader: Reader, facts: StudyFacts, groups: Groups) -> Found:
    """Ask for all three.

    Raises:
        NotRecorded: nothing was correlated.
    """
    signals = signals_of(groups)
    return Found(
        highest(reader, facts, signals), selected(reader, facts, signals), thresholds(reader, facts, signals), groups
    )


def draw_rows(
    rows: tuple[Row, ...], theirs: pd.DataFrame, found: Found, facts: StudyFacts, index: str = "index"
) -> Figure:
    """Left: the paper's statistic, beside its published curve. Right: held out, beside every control."""
    figure, axes = canvas(len(rows), 2, height=3.6 * len(rows), sharey=True, sharex=True)
    depth = theirs[index] / PAPER_BLOCKS
    for row, (left, right) in zip(rows, axes, strict=True):
        main = row.lines[0]
        for line in row.lines:
            label = f"{line.label}, Llama 3 70B (published)"
            published(left, depth, theirs[line.column], label, linestyle=line.linestyle)
        for line in reversed(row.lines):
            values = by_block(found.highest, "r", "sae", found.groups[line.group], facts.sae)
            curve_over_depth(left, values, facts, line.label, color=line.colour)
        left.set(title=f"{row.panel} · {row.kind}: highest r per block", ylabel="highest Pearson r over latents")
        draw_controls(right, found.groups[main.group], found, facts)
        right.set(title=f"{main.label}: chosen on one half, scored on the other")
        for ax in (left, right):
            ax.axhline(0, color=GREY, linewidth=0.8)
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.5, 1.0))
            ax.legend(fontsize=7.5 if len(row.lines) < 3 else 6.8, ncols=1 if ax is left else 2, loc="lower right")
    for ax in axes[-1]:
        ax.set_xlabel("relative depth (block / number of blocks)")
    return figure


def draw_controls(ax: Axes, signals: tuple[str, ...], found: Found, facts: StudyFacts) -> None:
    """Latents chosen on one half of the rollouts and scored on the other, beside what else follows the signals."""
    limit = by_block(found.thresholds, "r_threshold", "sae", signals, facts.sae)
    ax.fill_between(
        limit.index / facts.n_blocks,
        0,
        limit,
        color="#ECEEF1",
        linewidth=0,
        label="below largest family-wise\nthreshold of block's latents",
    )
    for source, label, colour, style in CONTROLS:
        values = by_block(found.selected, "r_heldout", source, signals)
        curve_over_depth(ax, values, facts, label, color=colour, **{"linewidth": 1.1, **style})
    held = by_block(found.selected, "r_heldout", "sae", signals, facts.sae)
    curve_over_depth(ax, held, facts, "SAE latents", color=BLUE)
    partial = by_block(found.selected, "r_partial_heldout", "sae", signals, facts.sae)
    curve_over_depth(ax, partial, facts, "SAE, partial r", color=VERMILION, markerfacecolor="white")


def curve_over_depth(ax: Axes, values: pd.Series[float], facts: StudyFacts, label: str, **style: Any) -> None:
    """One value a block; nothing where there is none."""
    if len(values):
        ax.plot(values.index / facts.n_blocks, values, **{"marker": "o", "label": label, **style})


def caption_of_best(found: Found, facts: StudyFacts, signal: str, name: str, published_r: str) -> str:
    """The feature chosen for a signal with its numbers, and what was published."""
    feature = best(found.selected, "sae", signal, facts.sae)
    if feature is None:
        return f"No live latent could be correlated with the {name}."
    threshold = threshold_of(found.thresholds, feature, facts.sae)
    return (
        f"The latent chosen for the {name} on half of the rollouts (block {feature.block}, latent "
        f"{feature.latent} of {facts.sae!r}) has r = {feature.heldout.text()} on the other half and {feature.r.text()} "
        f"over all [{percent(facts.confidence)}]; the largest family-wise threshold of the block's latents is "
        f"{number(threshold)}. {published_r}"
    )


def caption_of_controls(found: Found, facts: StudyFacts) -> str:
    """What the right panels show."""
    return (
        "A maximum over many latents of a slow signal is high by chance alone. So the right panels show features "
        "chosen on one half of the rollouts and scored on the other: latents, raw dimensions, principal "
        "components and an untrained network's dimensions (the last three have no sign and are taken in the "
        f"direction chosen), and the latents' partial r given {', '.join(facts.covariates)}. Grey area: up to the "
        "largest family-wise threshold of the block's latents, for r over all rollouts, from "
        f"{int(_coverage(found, facts)['n_permutations'])} permutations of whole rollouts. "
    )


def sample(found: Found, facts: StudyFacts) -> str:
    """How much data."""
    coverage = _coverage(found, facts)
    return (
        f"{int(coverage['n']):,} decisions of {int(coverage['n_rollouts'])} rollouts, all variants; "
        f"{int(coverage['family_size']):,} tests in the family of {facts.sae!r}"
    )


def _coverage(found: Found, facts: StudyFacts) -> pd.Series[Any]:
    rows = found.thresholds
    return rows[(rows["source"] == "sae") & (rows["sae"] == facts.sae)].iloc[0]
