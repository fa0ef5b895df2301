"""Claims on behaviour: return and choices (Figs 2A, 2B)."""

from __future__ import annotations

from jobs.published import headlines
from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.fig2b_behaviour import PUBLISHED_CHOICES, Fit, read_fits
from jobs.report.two_step.returns import over_own, own_return, read_returns, yardsticks_of
from tdlens.figures import number

PAPER = {name: headline.value for name, headline in headlines("td_in_llms").items()}

RIVALS: tuple[tuple[str, str, str | None], ...] = (
    ("chance", "chance", "nll_chance"),
    ("myopic", "a myopic learner", "nll_myopic"),
    ("repetition_unfitted", "repetition, not fitted (as published)", "nll_repetition"),
    ("repetition", "repetition with a fitted temperature", None),
    ("best_episode", "copying the best episode so far (the reviewers' alternative)", None),
)
"""Behaviour model, what it is called here, and its published NLL."""


def behaviour_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """That the model learns, and that it does so as a Q-learner would."""
    returns = or_none(lambda: read_returns(reader, facts))
    earned = own_return(returns) if returns is not None else None
    fits = or_none(lambda: read_fits(reader, facts)) or {}
    chance = over_own(yardsticks_of(facts)["chance"], returns) if returns is not None else float("nan")
    return [
        claim(
            "The model earns more than chance",
            f"{number(PAPER['return_70b'])} against {number(PAPER['return_chance'], 1)}",
            shown(earned),
            verdicts.exceeds(earned, chance, "chance"),
            yes="It earns more than random choices would.",
            no="It earns less than random choices would.",
            maybe="Its return can't be told from chance.",
        ),
        together(
            "Q-learning explains the choices better than its rivals",
            f"{number(PAPER['nll_q_learning'], 0)} nats, the lowest",
            [_against(fits.get(model), rival, headline) for model, rival, headline in RIVALS],
            yes="No rival explains the choices as well.",
            no="At least one rival explains them as well, or better.",
            maybe="At least one rival can't be told from Q-learning.",
        ),
    ]


def _against(fit: Fit | None, rival: str, headline: str | None) -> Claim:
    difference = fit.minus_q if fit is not None else None
    published = None if headline is None else PAPER[headline] - PAPER["nll_q_learning"]
    # the published sums are of 4,600 choices; ours may be of fewer
    scale = fit.n_choices / PUBLISHED_CHOICES if fit is not None else 1.0
    name = rival.split(" (")[0]
    return claim(
        f"… than {rival}",
        NOT_PUBLISHED if published is None else f"by {number(published, 0)} nats",
        shown(difference, 1, " nats"),
        verdicts.effect(difference, None if published is None else published * scale, expected=1),
        yes=f"The choices are likelier under Q-learning than under {name}.",
        no=f"Q-learning has no such advantage over {name} here.",
        maybe=f"Q-learning and {name} can't be told apart on these choices.",
    )
