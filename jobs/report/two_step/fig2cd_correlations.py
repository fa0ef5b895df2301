"""Figs 2C and 2D: the strongest correlation of any latent per block, with the controls the paper lacks."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.by_depth import Line, Row, caption_of_best, caption_of_controls, draw_rows, read_found, sample
from jobs.report.drawing import Drawing
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.groups import GROUPS
from tdlens.figures import BLUE, ORANGE, PUBLISHED_LINE

NAME = "fig2cd_correlations"
TITLE = "Figs 2C, 2D · Latents that follow values and errors"
OVERLAY = "Figs 2C and 2D of the paper, by depth relative to Llama's 80 blocks"

ROWS = (
    Row(
        "2C",
        "Values",
        (
            Line("q_values", "Q-values", "C_Q", BLUE, PUBLISHED_LINE),
            Line("myopic_values", "myopic values", "C_myopic", ORANGE, ":"),
        ),
    ),
    Row(
        "2D",
        "Errors",
        (
            Line("td_error", "TD error", "D_Q", BLUE, PUBLISHED_LINE),
            Line("myopic_error", "myopic error", "D_myopic", ORANGE, ":"),
        ),
    ),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: the paper's statistic. Right: held out, beside every control."""
    found = read_found(reader, facts, GROUPS)
    return Drawing(
        draw_rows(ROWS, curve("td_in_llms", "fig2_C_D_G_H_maxcorr_by_block"), found, facts),
        sees=caption_of_best(found, facts, "td_error", "TD error", "Published: r = 0.58 in block 34 of 80."),
        beside=(
            caption_of_controls(found, facts)
            + "Values are the mean over the two actions' columns of each column's maximum."
        ),
        n=sample(found, facts),
    )
