"""Figs 4E and 4F: correlations in all blocks without the TD latents of several."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.grid_world.groups import GROUPS
from jobs.report.later_blocks import Panel, draw_later
from jobs.report.lesions import read_lesions, td_lesion
from jobs.report.reader import Reader, StudyFacts

NAME = "fig4ef_later_blocks"
TITLE = "Figs 4E, 4F · Later blocks without the TD latents"
OVERLAY = "Figs 4E and 4F of the paper, smoothed over blocks there (σ = 0.5); lesion from block 43 on"

AMONG = "the edited blocks 53, 55 and 59"
"""What the published mean changes contain, and ours do not."""

PANELS = (
    Panel("4E", "q_values", "Q-values", "F4E_no", "F4E_TDlesion"),
    Panel("4F", "td_error", "TD error", "F4F_no", "F4F_TDlesion"),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Highest r per block with and without the lesion."""
    lesions = read_lesions(reader, facts)
    lesion = td_lesion(lesions)
    controls = lesion.beside(lesions)
    theirs = curve("td_in_llms", "fig4_B_C_E_F_maxcorr_by_block")
    drawn = draw_later(reader, facts, lesion, controls, PANELS, theirs, GROUPS, "TD latents zeroed")
    return Drawing(
        drawn.figure,
        sees=(
            "Mean change of the highest r in the blocks after the first edited one, edited ones left out: "
            + "; ".join(drawn.changes)
            + f". Published, blocks from 43 on: Q-values −0.03, TD error −0.19, {AMONG} among them."
            if drawn.changes
            else "No block after the first edited one was left alone."
        ),
        beside=(
            "The texts are the same with and without the lesion, so blocks before the first edited one can't change. "
            "The highest r is that of whichever latent is now the best: a loss says that no latent follows the signal "
            "as closely any more; in an edited block it comes by construction. Thin lines: the same edit of control "
            "latents. The band is the 95 % interval of the change over rollouts."
        ),
        n=f"{drawn.n_rollouts} rollouts of the {facts.variant} variant",
    )
