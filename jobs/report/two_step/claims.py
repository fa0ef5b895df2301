"""The paper's claims about the Two-Step task (Demircan et al. 2025, arXiv 2410.01280), each put to a rule.

What its reviewers and its confounds call for stands among the conditions of a claim, without a published number.
"""

from __future__ import annotations

from jobs.report import verdicts
from jobs.report.claims import UNRECORDED, claim, or_none
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step import fig3_published, fig7_windows
from jobs.report.two_step.claims_behaviour import behaviour_claims
from jobs.report.two_step.claims_correlations import correlation_claims
from jobs.report.two_step.claims_lesions import clamp_claims, lesion_claims


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict, in the order of the paper."""
    return [
        learner_claim(reader),
        *behaviour_claims(reader, facts),
        *correlation_claims(reader, facts),
        *lesion_claims(reader, facts),
        *clamp_claims(reader, facts),
    ]


def learner_claim(reader: Reader) -> Claim:
    """Whether the regressor is the paper's own; it takes both figures."""
    windows = or_none(lambda: fig7_windows.largest_error(fig7_windows.read_windows(reader)))
    runs = or_none(lambda: fig3_published.largest_error(fig3_published.replayed_runs(reader)))
    largest = None if windows is None or runs is None else max(windows, runs)
    return claim(
        "The published TD curves (Figs 3 and 7) follow from the learner used here",
        "curves",
        UNRECORDED if largest is None else f"largest difference {largest:.0e}",
        verdicts.agrees(largest, fig3_published.TOLERANCE),
        yes="Our learner draws the paper's own TD curves.",
        no="Our learner does not draw the paper's TD curves; no other row can be trusted until it does.",
        maybe="The published runs were not all replayed in this study.",
    )
