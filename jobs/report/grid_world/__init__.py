"""The report on the Grid World: Demircan et al. (2025, arXiv 2410.01280), Figs 4, 8 and 9.

A figure is one module here and one entry in ``figures``.
"""

from __future__ import annotations

from jobs.report import td_parts
from jobs.report.drawing import TaskReport
from jobs.report.grid_world import (
    clock,
    controls,
    fig4a_prediction,
    fig4bc_correlations,
    fig4d_lesions,
    fig4ef_later_blocks,
    fig8_latents,
    fig9_reward_controls,
    learners,
)
from jobs.report.grid_world.claims import claims
from jobs.report.paper import PAPER

REPORT = TaskReport(
    figures=(
        fig4a_prediction,
        fig4bc_correlations,
        clock,
        learners,
        fig4d_lesions,
        fig4ef_later_blocks,
        controls,
        td_parts,
        fig8_latents,
        fig9_reward_controls,
    ),
    claims=claims,
    paper=PAPER,
    differences=(
        "The paper studies Llama 3 70B: 80 blocks, 8,192 dimensions, trained on text. Curves over blocks are drawn "
        "over relative depth, so that models of other depth can stand beside it.",
        "The reference model is small and trained on histories of such tasks; goals and grids of its training differ "
        "from those here. It shows what the method finds in a network that does learn in context.",
        "The paper leaves start and goal, the first ε, the cap on an episode and the number of episodes open; the "
        "defaults here reproduce the timing of its Fig 4A.",
        "The paper lesions latents from block 40 of 80 on with r of at least 0.75. Here they are chosen from the same "
        "relative depth on, by the correlation on one half of the rollouts, and as many as the model's blocks allow.",
        "The paper smooths its curves over blocks (σ = 0.5). Ours are not smoothed; where its curve can be had without "
        "smoothing, it is drawn so.",
        "With fewer dimensions the paper's autoencoder tends to keep more latents alive (Fig 8), so its maxima are "
        "over more candidates than the paper's.",
    ),
)
