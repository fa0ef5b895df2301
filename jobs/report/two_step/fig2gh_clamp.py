"""Figs 2G and 2H: correlations in all blocks while the TD latents are clamped."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.later_blocks import Panel, draw_later
from jobs.report.lesions import read_lesions, td_lesion
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.groups import GROUPS

NAME = "fig2gh_clamp"
TITLE = "Figs 2G, 2H · Later blocks under a clamp"
OVERLAY = "Figs 2G and 2H of the paper, block-34 TD latent clamped by −10"

PANELS = (
    Panel("2G", "q_values", "Q-values", "G_no", "G_TD"),
    Panel("2H", "td_error", "TD error", "H_no", "H_TD"),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Highest r per block with and without the clamp."""
    lesions = read_lesions(reader, facts)
    lesion = td_lesion(lesions, "clamp")
    controls = lesion.beside(lesions)
    theirs = curve("td_in_llms", "fig2_C_D_G_H_maxcorr_by_block")
    drawn = draw_later(reader, facts, lesion, controls, PANELS, theirs, GROUPS, "clamped")
    return Drawing(
        drawn.figure,
        sees=(
            "Mean change of the highest r in the blocks after the clamped one: " + "; ".join(drawn.changes) + ". "
            "Published, blocks from 35 on: Q-values −0.14, TD error −0.17."
            if drawn.changes
            else "The clamped block is the last one, so no later block could change."
        ),
        beside=(
            "The edit can't reach the blocks before the clamped one: what they lose comes with the other choices that "
            "the clamped model makes, and later blocks would lose that much as well. The band is the 95 % interval of "
            "the change over rollouts paired by seed. "
            + (
                "Thin lines: the same clamp on control latents."
                if controls
                else "No control for the clamp is recorded in this study, as there was none in the paper."
            )
        ),
        n=f"{drawn.n_rollouts} rollouts of the {facts.variant} variant",
    )
