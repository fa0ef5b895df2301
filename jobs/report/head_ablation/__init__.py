"""The report on the ablation of attention heads: circuit discovery as reinforcement learning (Khadka 2026).

A figure is one module here and one entry in ``figures``.
"""

from __future__ import annotations

from jobs.report.drawing import TaskReport
from jobs.report.head_ablation import (
    fig_attribution,
    fig_budget,
    fig_discovery,
    fig_heads,
    fig_kinds,
    fig_known,
    fig_learning,
    fig_pairs,
    fig_planning,
    fig_planted,
    fig_transfer,
)
from jobs.report.head_ablation.claims import claims

REPORT = TaskReport(
    figures=(
        fig_discovery,
        fig_budget,
        fig_learning,
        fig_transfer,
        fig_planning,
        fig_heads,
        fig_known,
        fig_pairs,
        fig_planted,
        fig_attribution,
        fig_kinds,
    ),
    claims=claims,
    paper="Khadka: circuit discovery as reinforcement learning (MechRL), arXiv 2605.26343, version 1 (2026)",
    differences=(
        "The paper studies GPT-2 small: 12 blocks of 12 heads, of which an episode tries 50. On a smaller model an "
        "episode tries the same share, 35 %. Scores are in nats and differ from model to model, so shares of the best "
        "head's score in the same episodes are compared.",
        "The shipped small model has GPT-2's architecture and was trained on text that holds these very tasks. It "
        "shows what the method finds in a network that can do them; which heads these are says nothing about GPT-2.",
        "The paper divides 30 episodes of a policy by the first 15 of the oracle. Here both are always of the same "
        "episodes, all of which were kept from training.",
        "The paper trains one seed and gives no interval. Here intervals draw episodes and seeds again, and every seed "
        "is shown: three seeds tell little about others.",
        "In training, policies meet the episodes of a pool again and again, whose heads were all ablated before. The "
        "paper's meet a fresh one each time, with the model in the loop; forward passes are counted as if ours did.",
        "The paper's only baselines are random heads and the oracle. Fixed lists, a bandit, attribution patching, mean "
        "ablation, pairs of heads, other ablations, circuits that were written into the weights and several heads a "
        "step at evaluation are additions, as is the task greater-than.",
        "Heads of the small model are known by their attention patterns; those of GPT-2 small by Wang et al. (2022).",
        "The control text is generated, unless the study names a file; the paper's is WikiText-2.",
    ),
    template="head_ablation.html.j2",
)
