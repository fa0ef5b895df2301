"""The report on graph learning: Demircan et al. (2025, arXiv 2410.01280), Figs 5, 6, 8 and 10.

A figure is one module here and one entry in ``figures``.
"""

from __future__ import annotations

from jobs.report.drawing import TaskReport
from jobs.report.graph_walk import (
    controls,
    fig5a_maps,
    fig5b_accuracy,
    fig5c_decoding,
    fig5de_correlations,
    fig6a_lesion,
    fig6bc_later_blocks,
    fig6de_maps,
    fig8_latents,
    fig10_cka,
    similarities,
)
from jobs.report.graph_walk.claims import claims
from jobs.report.paper import PAPER

REPORT = TaskReport(
    figures=(
        fig5a_maps,
        similarities,
        fig5b_accuracy,
        fig5c_decoding,
        fig5de_correlations,
        fig6a_lesion,
        fig6bc_later_blocks,
        fig6de_maps,
        controls,
        fig8_latents,
        fig10_cka,
    ),
    claims=claims,
    paper=PAPER,
    differences=(
        "The paper studies Llama 3 70B: 80 blocks, 8,192 dimensions, trained on text. Curves over blocks are drawn "
        "over relative depth, so that models of other depth can stand beside it.",
        "The reference model is small and trained on histories of such tasks, walks on graphs with words as nodes "
        "among them. It shows what the method finds in a network that does learn in context.",
        "The paper does not say how the successor representation begins, nor whether its errors are averaged over the "
        "whole history here too: it begins at zero, and the error is that of the last transition.",
        "Surprise needs probabilities that are neither 0 nor 1: they are clipped.",
        "Accuracy is among the walk's fifteen words; the paper's is among all tokens.",
        "The paper's autoencoder has as many latents as dimensions in this task; here more of them stay alive (Fig 8), "
        "so its maxima are over more candidates.",
    ),
)
