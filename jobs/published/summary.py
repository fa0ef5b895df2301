"""What is asked of the published runs first, and the record's answers: for the command line and the report."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from jobs.published import headlines
from tdlens.rows import rows

CORRELATIONS = "SELECT * FROM v_block_measure WHERE study = 'demircan2025'"
BEHAVIOUR = "SELECT * FROM v_behaviour_fit WHERE study = 'demircan2025' ORDER BY nll"
SCORED = 4600
"""Choices behind the published likelihoods, inferred: 100 runs of 23 episodes that weren't random, two choices each."""

SCALING = (
    "The figure scales TD error and latent from 0 to 1 within each run. A run's own r is the same in any units, but "
    "the pooled r is of these scaled latents: how strongly the latent fires in one run beside another isn't published."
)


@dataclass(frozen=True)
class Answer:
    """A number from the published runs beside the same for all runs of the figure."""

    question: str
    value: float
    interval: tuple[float, float] | None
    """At 95 %, over runs."""
    published: float | None


_CORRELATIONS = (
    ("Latent with TD error, pooled", "td_error", "r", "fig3_r_td_error"),
    ("… mean of the runs' own r", "td_error", "r_run_mean", None),
    ("… with the TD error of the variant's other run", "td_error", "r_other_run", None),
    ("Latent with step", "step", "r", "fig3_r_step"),
    ("TD error with step", "td_error", "signal_r[step]", "fig3_td_error_r_step"),
    ("Latent with TD error, given step", "td_error", "r_partial[step]", None),
    ("… given log step", "td_error", "r_partial[log_step]", None),
    ("… given step and log step", "td_error", "r_partial[step,log_step]", None),
    (
        "… given step, pick, last and highest reward",
        "td_error",
        "r_partial[step,is_second_pick,last_reward,max_so_far]",
        None,
    ),
    ("Latent with myopic error, pooled", "myopic_error", "r", None),
)
_FITTED = {
    "q_learning": "nll_q_learning",
    "myopic": "nll_myopic",
    "repetition_unfitted": "nll_repetition",
    "chance": "nll_chance",
}


def correlations(measured: pd.DataFrame) -> list[Answer]:
    """What the latent follows, and how much of it the step explains; from the rows of `CORRELATIONS`."""
    published = headlines("td_in_llms")
    found = {(row.signal, row.measure): row for row in rows(measured)}
    answers = []
    for question, signal, measure, headline in _CORRELATIONS:
        row = found[signal, measure]
        beside = published[headline].value if headline else None
        interval = None if math.isnan(row.ci_low) else (row.ci_low, row.ci_high)
        answers.append(Answer(question, row.value, interval, beside))
    return answers


def behaviour(fitted: pd.DataFrame) -> list[Answer]:
    """Each model's negative log likelihood less Q-learning's, in nats a choice; from the rows of `BEHAVIOUR`."""
    published = headlines("td_in_llms")
    reference = published[_FITTED["q_learning"]].value
    answers = []
    for row in rows(fitted):
        name, n = row.behaviour_model, row.n_choices
        if name != "q_learning":
            beside = (published[_FITTED[name]].value - reference) / SCORED if name in _FITTED else None
            answers.append(Answer(name, row.nll_minus_q / n, (row.ci_low / n, row.ci_high / n), beside))
    return answers
