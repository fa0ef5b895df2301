"""Figs 5D and 5E: the largest correlation with the successor representation and its TD error, and with their rivals."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from jobs.published import curve
from jobs.report.block_measures import block_of_highest, draw_beside_rivals, highest_of, line, of, read_measures
from jobs.report.drawing import Drawing
from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import PAPER_BLOCKS
from tdlens.figures import BLUE, GREY, ORANGE, canvas, published

NAME = "fig5de_correlations"
TITLE = "Figs 5D, 5E · Latents that follow the successor representation"
OVERLAY = "Figs 5D and 5E of the paper, by depth relative to 80 blocks"

MEASURES = ("max_r", "max_r_partial", "max_r_given_states")
SIGNALS = ("sr", "transition", "mixing", "sr_error", "surprise")
PANELS = (
    ("5D", "sr", "successor representation", "transition", "transition matrix", "F5D_SR", "F5D_T"),
    ("5E", "sr_error", "SR-TD error", "surprise", "surprise", "F5E_SR_TD", "F5E_T_surprise"),
)
RIVAL = {"sr": ("mixing", "neighbour mixing"), "sr_error": ("surprise", "surprise")}
"""What would explain a correlation without a successor representation."""


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: the paper's comparison. Right: the same beside every control."""
    rows = read_measures(reader, facts, MEASURES, SIGNALS)
    theirs = curve("td_in_llms", "fig5_C_D_E_by_index81")
    figure, axes = canvas(2, 2, height=7.2, sharey="row", sharex=True)
    for (left, right), panel in zip(axes, PANELS, strict=True):
        _draw_comparison(left, rows, facts, theirs, panel)
        draw_beside_rivals(right, rows, panel[1], facts, RIVAL[panel[1]])
        right.set(title=f"{panel[2]}: beside controls")
        for ax in (left, right):
            ax.axhline(0, color=GREY, linewidth=0.8)
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.1, 1.0))
            ax.legend(fontsize=7, ncols=1 if ax is left else 2, loc="upper left")
    for ax in axes[-1]:
        ax.set_xlabel("relative depth (block / number of blocks)")
    highest = [(name, highest_of(rows, "max_r", signal)) for _, signal, name, *_ in PANELS]
    return Drawing(
        figure,
        sees=(
            "Highest over blocks: "
            + "; ".join(
                f"{name} {interval.text() if interval else '–'} in block {block_of_highest(rows, 'max_r', signal)}"
                for (name, interval), (_, signal, *_) in zip(highest, PANELS, strict=True)
            )
            + " [95 % over walks]. Published: 0.62 and 0.60, transition matrix 0.49, surprise 0.18."
        ),
        beside=(
            "For each of the fifteen nodes the largest r over latents, averaged over nodes and walks: a largest of "
            "many is above 0 by chance alone. So the right panels show the same for raw dimensions, principal "
            "components, an untrained model, and the signals of other walks; the grey area lies below the family-wise "
            "threshold over all blocks, from permuted walks. Neighbour mixing is the rival of the successor "
            "representation: a node drawn towards its neighbours, with nothing learned by TD."
        ),
        n=f"{int(rows['n_rollouts'].max())} walks",
    )


def _draw_comparison(
    ax: Axes, rows: pd.DataFrame, facts: StudyFacts, theirs: pd.DataFrame, panel: tuple[str, ...]
) -> None:
    name, signal, label, rival, rival_label, column, rival_column = panel
    published(ax, theirs["index"] / PAPER_BLOCKS, theirs[column], f"{label}, Llama 3 70B (published)")
    published(
        ax,
        theirs["index"] / PAPER_BLOCKS,
        theirs[rival_column],
        f"{rival_label}, Llama 3 70B (published)",
        linestyle=":",
    )
    line(ax, of(rows, "max_r", rival), facts, rival_label, ORANGE)
    line(ax, of(rows, "max_r", signal), facts, label, BLUE)
    ax.set(title=f"{name} · largest r, mean over nodes and walks", ylabel="largest Pearson r over latents")
