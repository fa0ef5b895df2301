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
        "The paper trains one seed and gives no interval. Here intervals allow for other episodes and other seeds, and "
        "every seed is shown: three seeds tell little about others.",
        "Docstring's evaluation episodes have other seeds here than in the paper, which evaluates it on those of its "
        "first training task.",
        "An update is of as many heads as the paper's, 400, if need be from more and shorter episodes: in a model of "
        "fewer heads there are fewer to try in each.",
        "The training curve is of the first 8 evaluation episodes of the tasks that are trained on, as in the paper, "
        "but begins before the first update.",
        "In training, policies meet the episodes of a pool (48 of each task, unless the study says otherwise) again "
        "and again, whose heads were all ablated before; with a pool of 0 a fresh one each time, with the model in the "
        "loop, as in the paper. Forward passes are counted as if it were in the loop, evaluations left out.",
        "Of the published 487,560 forward passes (K = 1) training itself takes 408,000; the rest is as much as 780 "
        "episodes of evaluation take, which are left out of ours.",
        "The paper's only baselines are random heads and the oracle. Fixed lists, a bandit, attribution patching, mean "
        "ablation, pairs of heads, other ablations, circuits that were written into the weights and several heads a "
        "step at evaluation are additions, as is the task greater-than.",
        "Searches on planted circuits have other settings than those on the model: episodes as long as the circuit, 32 "
        "side by side, a larger learning rate (0.002), less entropy (0.01), 2 minibatches, K = 1 and one seed; their "
        "scores leave the control text out.",
        "Heads of the small model are known by their attention patterns, some also by their direct effect on answers; "
        "those of GPT-2 small by Wang et al. (2023).",
        "Overlap is of the first k heads, where k heads are known, and of 10 at most; the paper's is of 10.",
        "The control text is generated, unless the study names a file; the paper's is WikiText-2.",
    ),
    template="head_ablation.html.j2",
)
