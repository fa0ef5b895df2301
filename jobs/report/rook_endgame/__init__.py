"""The report on the rook endgame: sparse autoencoders on a deep Q network (DuPlessie 2024).

A figure is one module here and one entry in ``figures``.
"""

from __future__ import annotations

from jobs.report.drawing import TaskReport
from jobs.report.rook_endgame import (
    fig_agent,
    fig_correlations,
    fig_directions,
    fig_features,
    fig_frequencies,
    fig_kill_test,
    fig_matched,
    fig_over_k,
    fig_population,
    fig_predicates,
    fig_useless,
)
from jobs.report.rook_endgame.claims import claims

REPORT = TaskReport(
    figures=(
        fig_agent,
        fig_over_k,
        fig_features,
        fig_predicates,
        fig_directions,
        fig_matched,
        fig_useless,
        fig_frequencies,
        fig_kill_test,
        fig_population,
        fig_correlations,
    ),
    claims=claims,
    paper="DuPlessie: sparse autoencoders on deep Q networks (MIT PRIMES, 2024), and its follow-up on dead features "
    "(PMLR 322, 2026)",
    differences=(
        "Of the paper only abstract and introduction were at hand. Its claims are those; the numbers beside ours were "
        "recomputed from the author's released checkpoints, logs and result files and are not the paper's.",
        "Which environment the paper calls its toy environment is not known for sure. The rook endgame is the likelier "
        "of the two that the author released; the other is Ms. Pac-Man.",
        "The agent is another one, trained by the rules of the author's code through another library; its returns, "
        "not its weights, are to be compared.",
        "The author's encoder adds the decoder's bias where others subtract it (a slip of sign), and normalises the "
        "decoder by output rather than by latent. Here both are as is usual: each latent's direction has unit length.",
        "The author's autoencoders saw a fresh stream of activations, kept negative values among the k largest, were "
        "not centred, and started encoder and decoder apart but in two variants. Ours see 80,000 decisions 83 times, "
        "pass a ReLU, are centred and scaled, and start as transposes but in k20_independent: fewer latents die.",
        "How faithful a reconstruction is in play is measured on rollouts that no autoencoder was trained on.",
        "Properties of boards come from a library of our own; the author's 204 predicates were another.",
        "Held-out halves, the null over the whole family of tests, untrained and shuffled controls, pairs of boards "
        "at equal Q-values and the control of the kill test are additions.",
    ),
    reference="Recomputed",
    template="rook_endgame.html.j2",
)
