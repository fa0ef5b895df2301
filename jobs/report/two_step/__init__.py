"""The report on the Two-Step task: Demircan et al. (2025, arXiv 2410.01280), §3 and Figs 2, 3, 7, 8.

A figure is one module here and one entry in ``figures``.
"""

from __future__ import annotations

from jobs.report import td_parts
from jobs.report.drawing import TaskReport
from jobs.report.paper import PAPER
from jobs.report.two_step import (
    controls,
    fig2a_returns,
    fig2b_behaviour,
    fig2cd_correlations,
    fig2e_lesion_returns,
    fig2f_lesion_nll,
    fig2gh_clamp,
    fig3_examples,
    fig3_published,
    fig7_windows,
    fig8_latents,
)
from jobs.report.two_step.claims import claims

REPORT = TaskReport(
    figures=(
        fig2a_returns,
        fig2b_behaviour,
        fig2cd_correlations,
        fig2e_lesion_returns,
        fig2f_lesion_nll,
        fig2gh_clamp,
        controls,
        td_parts,
        fig3_examples,
        fig3_published,
        fig7_windows,
        fig8_latents,
    ),
    claims=claims,
    paper=PAPER,
    differences=(
        "The paper studies Llama 3 70B: 80 blocks, 8,192 dimensions, trained on text. Curves over blocks are drawn "
        "over relative depth, so that models of other depth can stand beside it.",
        "The reference model is small and trained on histories of such tasks. It shows what the method finds in "
        "a network that does learn in context; it says nothing about what a network trained on text alone would do.",
        "With fewer dimensions the paper's autoencoder tends to keep more latents alive (Fig 8), so its maxima are "
        "over more candidates than the paper's.",
        "Which side and fruit carry which rewards is drawn per seed; the paper does not say how it did this.",
        "The paper publishes no data: its curves were read off the vector graphics of its figures, and what it "
        "leaves open (likelihood, clamp, regressor columns) follows the reconstruction that fits them best.",
    ),
)
