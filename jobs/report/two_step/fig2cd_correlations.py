"""Figs 2C and 2D: the strongest correlation of any latent per block, with the controls the paper lacks."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.strongest import (
    GROUPS,
    PAPER_BLOCKS,
    best,
    by_block,
    highest,
    selected,
    threshold_of,
    thresholds,
)
from jobs.report.verdicts import percent
from tdlens.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, canvas, number, published

NAME = "fig2cd_correlations"
TITLE = "Figs 2C, 2D · Latents that follow values and errors"
OVERLAY = "Figs 2C and 2D of the paper, by depth relative to Llama's 80 blocks"

SIGNALS = tuple(name for names in GROUPS.values() for name in names)

ROWS = (
    ("Values", "q_values", "myopic_values", "C"),
    ("Errors", "td_error", "myopic_error", "D"),
)
NAMES = {
    "q_values": "Q-values",
    "myopic_values": "myopic values",
    "td_error": "TD error",
    "myopic_error": "myopic error",
}

CONTROLS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("raw", "raw dimensions", ORANGE, {}),
    ("pca", "principal components", GREEN, {}),
    ("untrained", "untrained model, raw", PURPLE, {}),
    ("shuffled", "shuffled signals", GREY, {"linestyle": ":"}),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: the paper's statistic. Right: held out, beside every control."""
    found, chosen = highest(reader, facts, SIGNALS), selected(reader, facts, SIGNALS)
    judged, sae = thresholds(reader, facts, SIGNALS), facts.sae
    theirs = curve("td_in_llms", "fig2_C_D_G_H_maxcorr_by_block")

    figure, axes = canvas(2, 2, height=7.2, sharey=True, sharex=True)
    for row, (kind, main, rival, panel) in enumerate(ROWS):
        left, right = axes[row]
        depth = theirs["index"] / PAPER_BLOCKS
        published(left, depth, theirs[f"{panel}_Q"], f"{NAMES[main]}, Llama 3 70B (published)")
        published(left, depth, theirs[f"{panel}_myopic"], f"{NAMES[rival]}, Llama 3 70B (published)", linestyle=":")
        _line(left, by_block(found, "r", "sae", rival, sae), facts, NAMES[rival], color=ORANGE)
        _line(left, by_block(found, "r", "sae", main, sae), facts, NAMES[main], color=BLUE)
        left.set(title=f"2{panel} · {kind}: highest r per block", ylabel="highest Pearson r over latents")
        _controls(right, main, chosen, judged, facts)
        right.set(title=f"{NAMES[main]}: chosen on one half, scored on the other")
        for ax in (left, right):
            ax.axhline(0, color=GREY, linewidth=0.8)
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.5, 1.0))
            ax.legend(fontsize=7.5, ncols=1 if ax is left else 2, loc="lower right")
    for ax in axes[1]:
        ax.set_xlabel("relative depth (block / number of blocks)")

    feature = best(chosen, "sae", "td_error", sae)
    seen = "No live latent could be correlated with the TD error."
    if feature is not None:
        threshold = threshold_of(judged, feature, sae)
        seen = (
            f"The latent chosen for the TD error on half of the rollouts (block {feature.block}, latent "
            f"{feature.latent} of {sae!r}) has r = {feature.heldout.text()} on the other half and {feature.r.text()} "
            f"over all [{percent(facts.confidence)}]; the largest family-wise threshold of the block's latents is "
            f"{number(threshold)}. "
            "Published: r = 0.58 in block 34 of 80."
        )
    coverage = judged[(judged["source"] == "sae") & (judged["sae"] == sae)].iloc[0]
    return Drawing(
        figure,
        sees=seen,
        beside=(
            "A maximum over many latents of a slow signal is high by chance alone. So the right panels show features "
            "chosen on one half of the rollouts and scored on the other: latents, raw dimensions, principal "
            "components and an untrained network's dimensions (the last three have no sign and are taken in the "
            f"direction chosen), and the latents' partial r given {', '.join(facts.covariates)}. Grey area: up to the "
            "largest family-wise threshold of the block's latents, for r over all rollouts, from "
            f"{int(coverage['n_permutations'])} permutations of whole rollouts. "
            "Values are the mean over the two actions' columns of each column's maximum."
        ),
        n=(
            f"{int(coverage['n']):,} decisions of {int(coverage['n_rollouts'])} rollouts, all variants; "
            f"{int(coverage['family_size']):,} tests in the family of {sae!r}"
        ),
    )


def _controls(ax: Axes, group: str, chosen: pd.DataFrame, judged: pd.DataFrame, facts: StudyFacts) -> None:
    limit = by_block(judged, "r_threshold", "sae", group, facts.sae)
    ax.fill_between(
        limit.index / facts.n_blocks,
        0,
        limit,
        color="#ECEEF1",
        linewidth=0,
        label="below largest family-wise\nthreshold of block's latents",
    )
    for source, label, colour, style in CONTROLS:
        values = by_block(chosen, "r_heldout", source, group)
        _line(ax, values, facts, label, color=colour, **{"linewidth": 1.1, **style})
    held = by_block(chosen, "r_heldout", "sae", group, facts.sae)
    _line(ax, held, facts, "SAE latents", color=BLUE)
    partial = by_block(chosen, "r_partial_heldout", "sae", group, facts.sae)
    _line(ax, partial, facts, "SAE, partial r", color=VERMILION, markerfacecolor="white")


def _line(ax: Axes, values: pd.Series[float], facts: StudyFacts, label: str, **style: Any) -> None:
    if len(values):
        ax.plot(values.index / facts.n_blocks, values, **{"marker": "o", "label": label, **style})
