"""Claims on latents that follow a learner's signals, and what has to hold for them to mean something."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import Feature, Groups, best, selected, signals_of, threshold_of, thresholds
from jobs.report.verdicts import Interval
from tdlens.figures import number

NEGLIGIBLE_R = 0.1
"""A correlation below this is taken for none."""

CHANCE = "… beyond the best of as many chance latents, held out"
CONTROLS = (
    ("untrained", "an untrained model's dimensions"),
    ("raw", "raw dimensions"),
    ("pca", "principal components"),
)


@dataclass(frozen=True)
class Evidence:
    """The best features of every source, chosen on one half of the rollouts."""

    chosen: pd.DataFrame
    judged: pd.DataFrame
    groups: Groups
    facts: StudyFacts

    def features(self, source: str, group: str) -> list[Feature]:
        """The best feature for each signal of a group."""
        sae = self.facts.sae if source == "sae" else None
        several = [best(self.chosen, source, signal, sae) for signal in self.groups[group]]
        return [feature for feature in several if feature is not None]

    def heldout(self, source: str, group: str) -> Interval | None:
        """Their mean r on the half that they were not chosen on."""
        return verdicts.average([feature.heldout for feature in self.features(source, group)])

    def thresholds(self, group: str) -> list[float]:
        """The largest family-wise threshold in the block of each latent of a group."""
        several = [threshold_of(self.judged, feature, self.facts.sae) for feature in self.features("sae", group)]
        return [threshold for threshold in several if threshold is not None]


@dataclass(frozen=True)
class Followed:
    """A group of signals as a claim names it."""

    group: str
    name: str
    published: float | None = None
    """Its highest r in the paper."""


def gather(reader: Reader, facts: StudyFacts, groups: Groups) -> Evidence | None:
    """The evidence on a study's groups of signals; None where nothing was correlated."""
    signals = signals_of(groups)
    return or_none(
        lambda: Evidence(selected(reader, facts, signals), thresholds(reader, facts, signals), groups, facts)
    )


def follows(what: Followed, evidence: Evidence | None, facts: StudyFacts) -> Claim:
    """That latents follow a group of signals: beyond chance, confounds and controls."""
    ours = evidence.heldout("sae", what.group) if evidence is not None else None
    parts = [family(what, evidence, facts.alpha), partial(what, evidence, facts)]
    for source, named in CONTROLS:
        control = evidence.heldout(source, what.group) if evidence is not None else None
        parts.append(
            claim(
                f"… and beyond {named}, held out",
                NOT_PUBLISHED,
                f"{shown(ours)} against {shown(control)}" if ours and control else UNRECORDED,
                verdicts.beyond(ours, control, named, facts.confidence),
                yes=f"The best latent follows {what.name} more closely than the best of {named}.",
                no=f"The best of {named} follows {what.name} more closely.",
                maybe=f"Neither the latent nor the best of {named} is clearly ahead.",
            )
        )
    return together(
        f"The autoencoder finds latents that follow {what.name}",
        NOT_PUBLISHED if what.published is None else f"r = {number(what.published)}",
        parts,
        yes=f"A latent follows {what.name} beyond chance, confounds and controls.",
        no=f"Chance, a confound or a control accounts for what follows {what.name} here, or does better.",
        maybe="Part of the evidence is missing or not clear.",
    )


def family(what: Followed, evidence: Evidence | None, alpha: float, text: str = CHANCE) -> Claim:
    """That a latent follows a group of signals beyond the best of as many chance latents, held out, too."""
    features = evidence.features("sae", what.group) if evidence is not None else []
    limits = evidence.thresholds(what.group) if evidence is not None else []
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
        yes=f"A latent follows {what.name} more than any would by chance, on rollouts it was not chosen on too.",
        no=f"No latent follows {what.name} more than the best of as many would by chance.",
        maybe="The evidence is not clear, or its two halves disagree.",
    )


def partial(what: Followed, evidence: Evidence | None, facts: StudyFacts, text: str = "") -> Claim:
    """That it does so beyond the covariates."""
    features = evidence.features("sae", what.group) if evidence is not None else []
    rest = verdicts.average([feature.partial for feature in features])
    heldout = sum(feature.partial_heldout for feature in features) / max(len(features), 1)
    named = ", ".join(facts.covariates).replace("_", " ")
    return claim(
        text or f"… and beyond {named} (partial r)",
        NOT_PUBLISHED,
        f"{shown(rest)}; held out {number(heldout)}" if rest else UNRECORDED,
        verdicts.remains(rest, heldout, NEGLIGIBLE_R, facts.confidence),
        yes=f"The latent follows {what.name} beyond what the covariates explain.",
        no=f"Once the covariates are held constant, the latent no longer follows {what.name}.",
        maybe="What remains beyond the covariates is not clear.",
    )


def ahead(higher: Followed, lower: Followed, evidence: Evidence | None, facts: StudyFacts) -> Claim:
    """That the best latents follow one group of signals more closely than another."""
    pair = (higher, lower)
    ours, other = (evidence.heldout("sae", one.group) if evidence is not None else None for one in pair)
    published = [number(one.published) for one in pair if one.published is not None]
    told = len(published) == len(pair)
    return claim(
        f"Latents follow {higher.name} more closely than {lower.name}",
        " against ".join(published) if told else NOT_PUBLISHED,
        f"held out {shown(ours)} against {shown(other)}" if ours and other else UNRECORDED,
        verdicts.beyond(ours, other, lower.name, facts.confidence),
        yes=f"{'As in the paper' if told else 'As it claims'}, {higher.name} have the higher correlation.",
        no=f"{'Unlike in the paper' if told else 'Against that'}, {lower.name} have the higher correlation.",
        maybe="The intervals overlap: neither is clearly ahead.",
    )
