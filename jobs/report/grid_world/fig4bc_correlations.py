"""Figs 4B and 4C: the strongest correlation of any latent per block, with the controls the paper lacks."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.by_depth import Line, Row, caption_of_best, caption_of_controls, draw_rows, read_found, sample
from jobs.report.drawing import Drawing
from jobs.report.grid_world.groups import GROUPS
from jobs.report.reader import Reader, StudyFacts
from tdlens.figures import BLUE, ORANGE, PUBLISHED_LINE, SKY

NAME = "fig4bc_correlations"
TITLE = "Figs 4B, 4C · Latents that follow values and errors"
OVERLAY = "Figs 4B and 4C of the paper, with its smoothing over blocks (σ = 0.5) undone, by depth relative to 80 blocks"

ROWS = (
    Row(
        "4B",
        "Values",
        (
            Line("q_values", "Q-values", "F4B_Q_unsmoothed", BLUE, PUBLISHED_LINE),
            Line("myopic_values", "myopic values", "F4B_myopic_unsmoothed", ORANGE, ":"),
            Line("random_values", "values of random rewards", "F4B_random_unsmoothed", SKY, "-."),
        ),
    ),
    Row(
        "4C",
        "Errors",
        (
            Line("td_error", "TD error", "F4C_Q_unsmoothed", BLUE, PUBLISHED_LINE),
            Line("myopic_error", "myopic error", "F4C_myopic_unsmoothed", ORANGE, ":"),
            Line("random_error", "error of random rewards", "F4C_random_unsmoothed", SKY, "-."),
        ),
    ),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: the paper's statistic. Right: held out, beside every control."""
    found = read_found(reader, facts, GROUPS)
    return Drawing(
        draw_rows(ROWS, curve("td_in_llms", "fig4_B_C_unsmoothed_deconvolved"), found, facts),
        sees=caption_of_best(
            found, facts, "td_error", "TD error", "Published: four blocks from 40 on with r of 0.75 to 0.80."
        ),
        beside=(
            caption_of_controls(found, facts)
            + "Averaged over the whole history, the TD error is nearly a clock (see the next figure), and so a latent "
            "that tells the time correlates with it. Values are the mean over the four actions' columns of each "
            "column's maximum."
        ),
        n=sample(found, facts),
    )
