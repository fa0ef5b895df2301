"""Claims on latents that follow values and errors (Figs 2C, 2D)."""

from __future__ import annotations

from jobs.report.claims_correlations import Followed, ahead, follows, gather
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.claims_behaviour import PAPER
from jobs.report.two_step.groups import GROUPS

TD_ERROR = Followed("td_error", "the TD error", PAPER["max_r_td_error"])
Q_VALUES = Followed("q_values", "Q-values", PAPER["max_r_q_value"])
TD_ERRORS = Followed("td_error", "TD errors", PAPER["max_r_td_error"])
MYOPIC_VALUES = Followed("myopic_values", "myopic values", PAPER["max_r_myopic_value"])
MYOPIC_ERRORS = Followed("myopic_error", "myopic errors", PAPER["max_r_myopic_error"])


def correlation_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """For TD errors and Q-values, and how these compare with their myopic rivals."""
    evidence = gather(reader, facts, GROUPS)
    return [
        follows(TD_ERROR, evidence, facts),
        follows(Q_VALUES, evidence, facts),
        # in this order in the paper: myopic values ahead of Q-values, TD errors ahead of myopic errors
        ahead(MYOPIC_VALUES, Q_VALUES, evidence, facts),
        ahead(TD_ERRORS, MYOPIC_ERRORS, evidence, facts),
    ]
