"""The paper's claims about the Grid World (Demircan et al. 2025, arXiv 2410.01280), each put to a rule.

What its reviewers and its confounds call for stands among the conditions of a claim, without a published number.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from envs.grid_world import Variant
from jobs.published import curve, headlines
from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.claims_correlations import Evidence, Followed, ahead, family, follows, gather, partial
from jobs.report.claims_lesions import Cost, cost_claim, later_claim
from jobs.report.drawing import Claim
from jobs.report.grid_world import clock
from jobs.report.grid_world.fig4a_prediction import CHANCE
from jobs.report.grid_world.fig4d_lesions import PUBLISHED_CHANGES
from jobs.report.grid_world.fig4ef_later_blocks import AMONG
from jobs.report.grid_world.fig9_reward_controls import PAPER_STEPS
from jobs.report.grid_world.groups import GROUPS, OTHER_LEARNERS, RIVALS
from jobs.report.lesions import Lesion, read_lesions, td_lesion
from jobs.report.prediction import (
    BINS,
    LAST_FROM,
    LATE_FROM,
    NO_LESION,
    Predictions,
    in_parts,
    late_change,
    read_predictions,
)
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval
from tdlens.figures import number

PAPER = {name: headline.value for name, headline in headlines("td_in_llms").items()}
TRUE = (str(Variant.TRUE), NO_LESION)
OTHERS = (
    (Variant.RANDOM, "random rewards"),
    (Variant.REMOVED, "no rewards"),
    (Variant.SWAPPED, "swapped signs"),
)

TD_ERROR = Followed("td_error", "the TD error", PAPER["grid_max_r_td_error"])
Q_VALUES = Followed("q_values", "Q-values", PAPER["grid_max_r_q_value"])
TD_ERRORS = Followed("td_error", "TD errors", PAPER["grid_mean_r_td_error"])
MEAN_Q_VALUES = replace(Q_VALUES, published=PAPER["grid_mean_r_q_value"])
OF_OTHERS = (
    Followed("generator_error", "the error of the learner that made the moves"),
    Followed("fitted_error", "the error of a learner fitted to the predictions"),
    Followed("fitted_last_error", "the fitted learner's error of the last transition alone"),
)
RIVALS_OF_ERRORS = (
    Followed("myopic_error", "myopic errors", PAPER["grid_mean_r_myopic_error"]),
    Followed("random_error", "errors of random rewards", PAPER["grid_mean_r_random_error"]),
    Followed("log_step", "the clock (log step)"),
    Followed("best_return", "the best episode so far (the reviewers' alternative)"),
)
RIVALS_OF_VALUES = (
    Followed("myopic_values", "myopic values", PAPER["grid_mean_r_myopic_value"]),
    Followed("random_values", "values of random rewards", PAPER["grid_mean_r_random_value"]),
    Followed("best_return", "the best episode so far (the reviewers' alternative)"),
)


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict, in the order of the paper."""
    found = or_none(lambda: read_predictions(reader, facts))
    evidence = gather(reader, facts, {**GROUPS, **OTHER_LEARNERS, **RIVALS})
    return [
        _foretells(found),
        _rewards_matter(found),
        _follows_error(reader, evidence, facts),
        _whose_error(evidence, facts),
        follows(Q_VALUES, evidence, facts),
        _ahead_of_all(TD_ERRORS, RIVALS_OF_ERRORS, evidence, facts),
        _ahead_of_all(MEAN_Q_VALUES, RIVALS_OF_VALUES, evidence, facts),
        *_lesions(reader, facts, found),
    ]


def _foretells(found: Predictions | None) -> Claim:
    last = found.mean(Variant.TRUE, share=LAST_FROM) if found is not None else None
    learned = found.learned(Variant.TRUE) if found is not None else None
    theirs = in_parts(*_published_truth(), PAPER_STEPS // BINS)
    at_end = f"{number(PAPER['grid_p_true'])} in the last {PAPER_STEPS // BINS} decisions"
    return together(
        "The model comes to foretell the agent's actions",
        at_end,
        [
            claim(
                "… at the end of a rollout better than chance",
                at_end,
                shown(last),
                verdicts.exceeds(last, CHANCE, "chance"),
                yes="At the end of a rollout it foretells the agent's actions better than chance.",
                no="At the end of a rollout it foretells the agent's actions worse than chance.",
                maybe="Its predictions can't be told from chance.",
            ),
            claim(
                "… and better than at its beginning",
                number(theirs.iloc[-1] - theirs.iloc[0]),
                shown(learned),
                verdicts.effect(learned, None, expected=1),
                yes="It foretells more at the end than at the beginning.",
                no="It foretells less at the end than at the beginning.",
                maybe="Whether it foretells more at the end can't be told.",
            ),
        ],
        yes="It comes to foretell the agent's actions.",
        no="It does not come to foretell the agent's actions as the paper's model did.",
        maybe="Whether it comes to foretell the agent's actions can't be told.",
    )


def _published_truth() -> tuple[pd.Series[int], pd.Series[float]]:
    rows = curve("td_in_llms", "fig4_A_D_paction")
    return rows["step"], rows["F4A_true"]


def published_gap(variant: Variant) -> float:
    """Late advantage of the true prompt over another in the paper: mean over decisions 200 to 319 of 320."""
    if variant is Variant.RANDOM:
        rows = curve("td_in_llms", "fig4_A_D_paction")
        gap = rows["F4A_true"] - rows["F4A_random"]
    else:
        rows = curve("td_in_llms", "fig9_gridcontrol_delta_p")
        gap = rows["orig_minus_noreward" if variant is Variant.REMOVED else "orig_minus_swapped"]
    return float(gap[rows["step"] >= LATE_FROM * PAPER_STEPS].mean())


def _rewards_matter(found: Predictions | None) -> Claim:
    parts = []
    for variant, named in OTHERS:
        gap = found.change(TRUE, (variant, NO_LESION)) if found is not None and found.has(variant) else None
        published = published_gap(variant)
        parts.append(
            claim(
                f"… than from a prompt with {named}",
                number(published, 3),
                shown(gap, 3),
                verdicts.effect(gap, published, expected=1),
                yes=f"The true rewards help{verdicts.compared(gap, published)}.",
                no="They help less than in the paper, or do harm.",
                maybe="Whether they help can't be told.",
            )
        )
    return together(
        "It foretells them better from the true rewards, on the same moves",
        f"{number(PAPER['grid_p_true'] - PAPER['grid_p_random'], 3)} at the end",
        parts,
        yes="Its predictions use the rewards: no copier of moves would show this.",
        no="At least one change of the rewards leaves its predictions as they are, as a copier's would be.",
        maybe="At least one comparison is missing or not clear.",
    )


def _follows_error(reader: Reader, evidence: Evidence | None, facts: StudyFacts) -> Claim:
    whole = follows(TD_ERROR, evidence, facts)
    tie = or_none(lambda: clock.clock_r(reader, facts))
    return whole if tie is None else replace(whole, ours=f"{whole.ours}; TD error with {tie}")


def _whose_error(evidence: Evidence | None, facts: StudyFacts) -> Claim:
    """Whether what is followed depends on whose TD error is asked for."""
    parts = [
        part
        for one in OF_OTHERS
        for part in (
            family(one, evidence, facts.alpha, f"… {one.name}: beyond chance, held out"),
            partial(one, evidence, facts, f"… {one.name}: beyond the covariates (partial r)"),
        )
    ]
    return together(
        "Latents follow the TD error whichever learner has it",
        NOT_PUBLISHED,
        parts,
        yes="What latents follow is no matter of which learner is taken.",
        no="With another learner's errors, chance or the covariates account for what is followed.",
        maybe="For at least one learner this can't be told.",
    )


def _ahead_of_all(what: Followed, rivals: tuple[Followed, ...], evidence: Evidence | None, facts: StudyFacts) -> Claim:
    parts = [ahead(what, rival, evidence, facts) for rival in rivals]
    return together(
        f"Latents follow {what.name} more closely than what could stand in for them",
        NOT_PUBLISHED if what.published is None else f"mean r = {number(what.published)}, blocks from 43",
        parts,
        yes=f"{what.name[0].upper()}{what.name[1:]} are what the latents follow best.",
        no="Something else is followed more closely.",
        maybe="At least one rival can't be told apart.",
    )


def _lesions(reader: Reader, facts: StudyFacts, found: Predictions | None) -> list[Claim]:
    lesions = or_none(lambda: read_lesions(reader, facts)) or []
    lesion = or_none(lambda: td_lesion(lesions))
    variant = str(Variant.TRUE)

    def late(one: Lesion) -> Interval | None:
        return late_change(found, variant, one.name) if found is not None else None

    cost = Cost(
        "Zeroing the TD latents of several blocks spoils the predictions, more than zeroing anything else",
        "the TD latents",
        "",
        PUBLISHED_CHANGES["none"],
        PUBLISHED_CHANGES["lowest"],
        late,
        lambda one, other: (
            found.change((variant, one.name), (variant, other.name))
            if found is not None and found.has(variant, one.name) and found.has(variant, other.name)
            else None
        ),
        late,
        found.late_from if found is not None else None,
    )
    return [
        _strong_latents(reader, lesion),
        cost_claim(cost, lesion, lesions),
        *(
            later_claim(reader, lesion, lesions, GROUPS[group], what, PAPER[key], AMONG)
            for group, what, key in (
                ("q_values", "Q-values", "grid_lesion_r_q_value"),
                ("td_error", "the TD error", "grid_lesion_r_td_error"),
            )
        ),
    ]


def _strong_latents(reader: Reader, lesion: Lesion | None) -> Claim:
    """Whether the lesioned latents follow the TD error as closely as the paper's."""
    rows = (
        reader.rows(
            """
            SELECT c.block, c.latent, c.r_heldout, c.heldout_low, c.heldout_high
            FROM v_latent_correlation AS c
            JOIN v_intervention_latent AS l
              ON l.study = c.study AND l.sae = c.sae AND l.block = c.block AND l.latent = c.latent
             AND l.target_signal = c.signal
            WHERE c.study = :study AND l.intervention = :intervention ORDER BY c.block, c.latent
            """,
            intervention=lesion.name,
        )
        if lesion is not None
        else []
    )
    known = [row for row in rows if None not in row.values()]
    weakest = min(known, key=lambda row: row["r_heldout"], default=None)
    interval = None
    if weakest is not None:
        interval = Interval(weakest["r_heldout"], weakest["heldout_low"], weakest["heldout_high"])
    least = PAPER["grid_lesion_least_r"]
    shown_r = ", ".join(f"block {row['block']}: {number(row['r_heldout'])}" for row in known)
    return claim(
        "Several blocks have a latent that follows the TD error at r ≥ 0.75",
        "blocks 43, 53, 55, 59: 0.76, 0.75, 0.80, 0.76",
        f"held out, {shown_r}" if known else UNRECORDED,
        verdicts.exceeds(interval, least, "the paper's bound"),
        yes="The weakest of the lesioned latents lies above the paper's bound, on rollouts that did not choose it.",
        no="The weakest of the lesioned latents lies below the paper's bound.",
        maybe="Whether the weakest of the lesioned latents reaches the paper's bound can't be told.",
    )
