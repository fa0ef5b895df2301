"""Figs 6B and 6C: the largest correlations in all blocks without the SR-TD latent."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.graph_walk.groups import GROUPS, sr_lesion
from jobs.report.later_blocks import Panel, draw_later
from jobs.report.lesions import read_lesions
from jobs.report.reader import Reader, StudyFacts

NAME = "fig6bc_later_blocks"
TITLE = "Figs 6B, 6C · Later blocks without the SR-TD latent"
OVERLAY = "Figs 6B and 6C of the paper, lesion in block 64 of 80"

PANELS = (
    Panel("6B", "sr", "successor representation", "B_no", "B_TDlesion"),
    Panel("6C", "sr_error", "SR-TD error", "C_no", "C_TDlesion"),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Largest r per block with and without the lesion."""
    lesions = read_lesions(reader, facts)
    lesion = sr_lesion(lesions)
    theirs = curve("td_in_llms", "fig6_B_C_by_index81")
    drawn = draw_later(reader, facts, lesion, lesion.beside(lesions), PANELS, theirs, GROUPS, "SR-TD latent zeroed")
    return Drawing(
        drawn.figure,
        sees=(
            "Mean change of the largest r in the blocks after the edited one: " + "; ".join(drawn.changes) + ". "
            "Published, blocks from 65 on: successor representation −0.09, SR-TD error 0.00 (−0.08 in block 65)."
            if drawn.changes
            else "The edited block is the last one, so no later block could change."
        ),
        beside=(
            "The largest r over latents for each node, averaged over nodes and walks, as in Figs 5D and 5E. The texts "
            "are the same with and without the lesion, so blocks before the edited one can't change. Thin lines: the "
            "same edit of control latents. The band is the 95 % interval of the change over walks."
        ),
        n=f"{drawn.n_rollouts} walks",
    )
