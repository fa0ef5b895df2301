"""The report on trainings in the maze and what they leave: a functional welfare axis (Han et al. 2026)?

A figure is one module here and one entry in ``figures``.
"""

from __future__ import annotations

from jobs.report.drawing import TaskReport
from jobs.report.welfare_axis import (
    fig_bridge,
    fig_checkpoints,
    fig_doses,
    fig_emotions,
    fig_geometry,
    fig_pattern,
    fig_planted,
    fig_separation,
    fig_texts,
    fig_tokens,
    fig_tracking,
    fig_training,
    fig_unit_doses,
)
from jobs.report.welfare_axis.claims import claims

REPORT = TaskReport(
    figures=(
        fig_training,
        fig_geometry,
        fig_separation,
        fig_doses,
        fig_unit_doses,
        fig_pattern,
        fig_emotions,
        fig_tokens,
        fig_tracking,
        fig_checkpoints,
        fig_bridge,
        fig_planted,
        fig_texts,
    ),
    claims=claims,
    paper="Han, Chalmers & Izmailov: the functional welfare axis, arXiv 2605.30232 (2026)",
    differences=(
        "The paper's primary model is Qwen3-4B-Instruct-2507. The small model that ships with tdlens was trained on a "
        "corpus in which feelings, answers that are judged true or false, problems that are solved with and without "
        "backtracking, and requests that are granted or refused occur; how these go together in it is its corpus's "
        "doing, and says nothing about large models. What it can show is whether the analysis works.",
        "Mazes are of 31 × 31 tiles, not 100 × 100, except with the settings of studies/maze_qwen3_4b.toml; batches of "
        "rollouts and numbers of trajectories are smaller, as the study's configuration says.",
        "A training on shuffled rewards, random pairs of vectors, models with an axis of our making and the bridge "
        "to latents of learning signals are additions.",
        "Trajectories end on all four letters alike in each class, so that means of few of them differ by tiles, "
        "not by which letters were drawn. Those that choose a vector's block aren't those that judge it there.",
        "Emotions are read in the block that tells them apart best, as in the paper; of blocks that are as good within "
        "0.01 of AUROC, in the one nearest to where the vectors are read.",
        "Controls have the norm of what they stand beside at every dose. The paper says so too, but its control curves "
        "are nearly the same for vectors whose lengths differ five times, so that they look as if they had not.",
        "The pattern is tested as an interaction over all evaluations at once. The paper shows that single effects of "
        "controls are small or differ, and gives no test.",
        "Replies are judged by rules and a lexicon unless the study names a language model; the paper has Qwen3-8B.",
        "Sentiment is a valence from −1 to 1 here; the paper's scale from −5 to 5 is divided by 5 wherever both are "
        "shown.",
        "Backtracking and refusal are shares of coherent replies, as in the paper; where a reply is a token or two, as "
        "in the small model, they are as coarse as that.",
        "Equal multiples of vectors that differ in length are not equal doses: dose curves at equal norms are added.",
        "What a vector is added to: the stream that enters a decoder block, which the paper's code does and its text "
        "calls the output of the layer.",
        "Intervals are 95 %, over items (steering), trajectories (tracking), mazes (play) or words (emotions), each of "
        "one training: they say nothing about how another training would have gone.",
    ),
    template="welfare_axis.html.j2",
)
