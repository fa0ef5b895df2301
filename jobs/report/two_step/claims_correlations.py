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
"""A correlation below this is taken for none."""

CONTROLS = (
    ("untrained", "an untrained model's dimensions"),
    ("raw", "raw dimensions"),
    ("pca", "principal components"),
)

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

    def heldout(self, source: str, group: str) -> Interval | None:
        """Their mean r on the half that they were not chosen on."""
        return verdicts.average([feature.heldout for feature in self.features(source, group)])

    def thresholds(self, group: str) -> list[float]:
        """The largest family-wise threshold in the block of each latent of a group."""
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
        _ahead(("myopic_values", "myopic values"), ("q_values", "Q-values"), evidence, facts),
        _ahead(("td_error", "TD errors"), ("myopic_error", "myopic errors"), evidence, facts),
    ]


def _latents(group: str, what: str, published: float, evidence: Evidence | None, facts: StudyFacts) -> Claim:
    ours = evidence.heldout("sae", group) if evidence is not None else None
    parts = [_family(group, what, evidence, facts.alpha), _partial(group, what, evidence, facts)]
    for source, named in CONTROLS:
        control = evidence.heldout(source, group) if evidence is not None else None
        parts.append(
            claim(
                f"… and beyond {named}, held out",
                NOT_PUBLISHED,
                f"{shown(ours)} against {shown(control)}" if ours and control else UNRECORDED,
                verdicts.beyond(ours, control, named, facts.confidence),
                yes=f"The best latent follows {what} more closely than the best of {named}.",
                no=f"The best of {named} follows {what} more closely.",
                maybe=f"Neither the latent nor the best of {named} is clearly ahead.",
            )
        )
    return together(
        f"The autoencoder finds latents that follow {what}",
        f"r = {number(published)}",
        parts,
        yes=f"A latent follows {what} beyond chance, confounds and controls.",
        no=f"Chance, a confound or a control accounts for what follows {what} here, or does better.",
        maybe="Part of the evidence is missing or not clear.",
    )


def _family(group: str, what: str, evidence: Evidence | None, alpha: float) -> Claim:
    text = "… beyond the best of as many chance latents, held out"
    features = evidence.features("sae", group) if evidence is not None else []
    limits = evidence.thresholds(group) if evidence is not None else []
    ruling, ours = verdicts.family_wise(None, alpha, None, None), UNRECORDED
    heldout = verdicts.average([feature.heldout for feature in features])
    if heldout is not None and len(limits) == len(features):
        p = max(feature.p_familywise for feature in features)
        threshold = sum(limits) / len(limits)
        ruling = verdicts.family_wise(p, alpha, heldout, threshold)
        r = verdicts.average([feature.r for feature in features])
        ours = f"held out {shown(heldout)}; all rollouts {shown(r)}; threshold {number(threshold)}; p = {p:.2g}"
    return claim(
        text,
        NOT_PUBLISHED,
        ours,
        ruling,
        yes=f"A latent follows {what} more than any would by chance, on rollouts it was not chosen on too.",
        no=f"No latent follows {what} more than the best of as many would by chance.",
        maybe="The evidence is not clear, or its two halves disagree.",
    )


def _partial(group: str, what: str, evidence: Evidence | None, facts: StudyFacts) -> Claim:
    features = evidence.features("sae", group) if evidence is not None else []
    partial = verdicts.average([feature.partial for feature in features])
    heldout = sum(feature.partial_heldout for feature in features) / max(len(features), 1)
    named = ", ".join(facts.covariates).replace("_", " ")
    return claim(
        f"… and beyond {named} (partial r)",
        NOT_PUBLISHED,
        f"{shown(partial)}; held out {number(heldout)}" if partial else UNRECORDED,
        verdicts.remains(partial, heldout, NEGLIGIBLE_R, facts.confidence),
        yes=f"The latent follows {what} beyond what the covariates explain.",
        no=f"Once the covariates are held constant, the latent no longer follows {what}.",
        maybe="What remains beyond the covariates is not clear.",
    )


def _ahead(higher: tuple[str, str], lower: tuple[str, str], evidence: Evidence | None, facts: StudyFacts) -> Claim:
    (first, first_name), (second, second_name) = higher, lower
    ours, other = (evidence.heldout("sae", group) if evidence is not None else None for group in (first, second))
    published = [number(PAPER[f"max_r_{group.removesuffix('s')}"]) for group in (first, second)]
    return claim(
        f"Latents follow {first_name} more closely than {second_name}",
        " against ".join(published),
        f"held out {shown(ours)} against {shown(other)}" if ours and other else UNRECORDED,
        verdicts.beyond(ours, other, second_name, facts.confidence),
        yes=f"As in the paper, {first_name} have the higher correlation.",
        no=f"Unlike in the paper, {second_name} have the higher correlation.",
        maybe="The intervals overlap: neither is clearly ahead.",
    )
