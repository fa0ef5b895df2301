"""Claims on latents that follow values and errors (Figs 2C, 2D), and what has to hold for them to mean something."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.two_step.claims_behaviour import PAPER
from jobs.report.two_step.strongest import GROUPS, Feature, best, selected, threshold_of, thresholds
from jobs.report.verdicts import Interval
from tdlens.figures import number

NEGLIGIBLE_R = 0.1
"""A correlation below this is taken for none: control latents are chosen under the same bound."""

CONTROLS = (("untrained", "an untrained model's dimensions"), ("raw", "raw dimensions"))

SIGNALS = tuple(signal for group in GROUPS.values() for signal in group)


@dataclass(frozen=True)
class Evidence:
    """The best features of every source, chosen on one half of the rollouts."""

    chosen: pd.DataFrame
    judged: pd.DataFrame
    sae: str

    def features(self, source: str, group: str) -> list[Feature]:
        """The best feature for each signal of a group."""
        sae = self.sae if source == "sae" else None
        several = [best(self.chosen, source, signal, sae) for signal in GROUPS[group]]
        return [feature for feature in several if feature is not None]

    def r(self, source: str, group: str) -> Interval | None:
        """Their mean r."""
        return verdicts.average([feature.r for feature in self.features(source, group)])

    def thresholds(self, group: str) -> list[float]:
        """The family-wise thresholds where the latents of a group were found."""
        several = [threshold_of(self.judged, feature, self.sae) for feature in self.features("sae", group)]
        return [threshold for threshold in several if threshold is not None]


def correlation_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """For TD errors and Q-values, and how these compare with their myopic rivals."""
    evidence = or_none(
        lambda: Evidence(selected(reader, facts, SIGNALS), thresholds(reader, facts, SIGNALS), facts.sae)
    )
    return [
        _latents("td_error", "the TD error", PAPER["max_r_td_error"], evidence, facts),
        _latents("q_values", "Q-values", PAPER["max_r_q_value"], evidence, facts),
        # in this order in the paper: myopic values ahead of Q-values, TD errors ahead of myopic errors
        _ahead(("myopic_values", "myopic values"), ("q_values", "Q-values"), evidence),
        _ahead(("td_error", "TD errors"), ("myopic_error", "myopic errors"), evidence),
    ]


def _latents(group: str, what: str, published: float, evidence: Evidence | None, facts: StudyFacts) -> Claim:
    ours = evidence.r("sae", group) if evidence is not None else None
    parts = [_family(group, what, evidence, facts.alpha), _partial(group, what, evidence, facts)]
    for source, named in CONTROLS:
        control = evidence.r(source, group) if evidence is not None else None
        parts.append(
            claim(
                f"… and beyond {named}",
                NOT_PUBLISHED,
                f"{shown(ours)} against {shown(control)}" if control else UNRECORDED,
                verdicts.beyond(ours, control, named),
                yes=f"The best latent follows {what} more closely than the best of {named}.",
                no=f"The best of {named} follows {what} at least as closely.",
                maybe=f"The latent is ahead of {named}, but not clearly.",
            )
        )
    return together(
        f"The autoencoder finds latents that follow {what}",
        f"r = {number(published)}",
        parts,
        yes=f"A latent follows {what} beyond chance, confounds and controls.",
        no=f"What follows {what} here does so no more than chance, a confound or a control.",
        maybe="Part of the evidence is missing or not clear.",
    )


def _family(group: str, what: str, evidence: Evidence | None, alpha: float) -> Claim:
    text = "… beyond the best of as many chance latents, held out"
    features = evidence.features("sae", group) if evidence is not None else []
    limits = evidence.thresholds(group) if evidence is not None else []
    ruling, ours = verdicts.family_wise(None, alpha, None, None), UNRECORDED
    if features and len(limits) == len(features):
        p = max(feature.p_familywise for feature in features)
        heldout = sum(feature.heldout for feature in features) / len(features)
        threshold = sum(limits) / len(limits)
        ruling = verdicts.family_wise(p, alpha, heldout, threshold)
        r = verdicts.average([feature.r for feature in features])
        ours = f"r {shown(r)}; held out {number(heldout)}; threshold {number(threshold)}; p = {p:.2g}"
    return claim(
        text,
        NOT_PUBLISHED,
        ours,
        ruling,
        yes=f"A latent follows {what} more than any would by chance, on rollouts it was not chosen on too.",
        no=f"No latent follows {what} more than the best of as many would by chance.",
        maybe="The two halves of the evidence disagree.",
    )


def _partial(group: str, what: str, evidence: Evidence | None, facts: StudyFacts) -> Claim:
    features = evidence.features("sae", group) if evidence is not None else []
    partial = verdicts.average([verdicts.shifted(feature.r, feature.partial) for feature in features])
    named = ", ".join(facts.covariates).replace("_", " ")
    return claim(
        f"… and beyond {named} (partial r)",
        NOT_PUBLISHED,
        shown(partial),
        verdicts.exceeds(partial, NEGLIGIBLE_R, "the largest r that counts as none"),
        yes=f"The latent follows {what} beyond what the covariates explain.",
        no=f"Once the covariates are held constant, the latent no longer follows {what}.",
        maybe="What remains beyond the covariates is not clear.",
    )


def _ahead(higher: tuple[str, str], lower: tuple[str, str], evidence: Evidence | None) -> Claim:
    (first, first_name), (second, second_name) = higher, lower
    ours, other = (evidence.r("sae", group) if evidence is not None else None for group in (first, second))
    published = [number(PAPER[f"max_r_{group.removesuffix('s')}"]) for group in (first, second)]
    return claim(
        f"Latents follow {first_name} more closely than {second_name}",
        " against ".join(published),
        f"{shown(ours)} against {shown(other)}" if ours and other else UNRECORDED,
        verdicts.beyond(ours, other, second_name),
        yes=f"As in the paper, {first_name} have the higher correlation.",
        no=f"Unlike in the paper, {second_name} have at least as high a correlation.",
        maybe=f"{first_name[0].upper() + first_name[1:]} come out ahead, but the intervals overlap.",
    )
