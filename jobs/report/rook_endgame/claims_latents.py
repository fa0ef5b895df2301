"""Claims about single latents: what they stand for, what only they show, what they don't do, what they follow."""

from __future__ import annotations

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.reader import Reader, StudyFacts
from jobs.report.rook_endgame import authors
from jobs.report.rook_endgame.fig_correlations import SIGNALS
from jobs.report.rook_endgame.fig_matched import hidden
from jobs.report.rook_endgame.fig_predicates import CONTROLS, Source, sources
from jobs.report.rook_endgame.fig_useless import idle_latents
from jobs.report.rook_endgame.latents import CLEAR, NO_COST, NO_EFFECT, Sheet, main_sae, read_sheet, said, told
from jobs.report.strongest import best, selected, threshold_of, thresholds
from jobs.report.verdicts import Interval, Ruling, Verdict, mean_interval, share_interval
from tdlens.figures import number

MANY = 0.5
"""Share of the live latents that counts as many."""
FOLLOWED = ("q_max", "td_error", "td_error_ahead")
"""Signals that claims are made about; the figure has more."""

_PROBE = authors.probe()


def latent_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim on single latents with its verdict, of the main autoencoder."""
    sheet = or_none(lambda: read_sheet(reader, facts))
    found = or_none(lambda: sources(reader, facts)) or []
    return [
        _interpretable(sheet, found, facts),
        *_hidden(sheet, facts),
        _idle(sheet),
        _costless(sheet),
        *(_follows(signal, reader, facts) for signal in FOLLOWED),
    ]


def _interpretable(sheet: Sheet | None, found: list[Source], facts: StudyFacts) -> Claim:
    share = share_interval(len(sheet.told), sheet.live) if sheet is not None else None
    ours = _clearness(next((one for one in found if sheet is not None and one.label == sheet.sae), None), facts)
    parts = [
        claim(
            "… at least half of those that fire tell a property beyond chance, on boards that did not choose it",
            NOT_PUBLISHED,
            _counted(sheet, share),
            verdicts.exceeds(share, MANY, "half of the live latents"),
            yes="Most live latents tell a property of the board.",
            no="Most live latents tell no property that was tried.",
            maybe="About half of the live latents tell a property.",
        )
    ]
    for _, named, _ in CONTROLS:
        control = _clearness(next((one for one in found if one.label == named), None), facts)
        parts.append(
            claim(
                f"… more clearly than {named}",
                NOT_PUBLISHED,
                f"F1 above chance {shown(ours)} against {shown(control)}" if ours and control else UNRECORDED,
                verdicts.beyond(ours, control, named),
                yes=f"On average a latent tells its property more clearly than {named} do.",
                no=f"On average {named} tell a property more clearly than the latents.",
                maybe=f"Latents and {named} can't be told apart.",
            )
        )
    return together(
        "Many latents can be interpreted",
        f"best F1 {number(_PROBE['rook_file_f1_max'])}, none 0.9",
        parts,
        yes="Many latents stand for a property of the board, more clearly than the controls.",
        no="Few latents do, or a control does as well.",
        maybe="Part of the evidence is missing or not clear.",
    )


def _counted(sheet: Sheet | None, share: Interval | None) -> str:
    if sheet is None or share is None:
        return UNRECORDED
    middle = number(sheet.told["f1_heldout"].median()) if len(sheet.told) else "–"
    return (
        f"{len(sheet.told)} of {sheet.live} ({shown(share)}); median F1 {middle}, highest "
        f"{number(sheet.rows['f1_heldout'].max())}"
    )


def _clearness(source: Source | None, facts: StudyFacts) -> Interval | None:
    """Mean over a source's features of the held-out F1 above chance; one that tells nothing counts as 0."""
    if source is None:
        return None
    clear = source.rows["clear"].where(told(source.rows, facts), 0.0).fillna(0.0).tolist()
    return mean_interval([*clear, *[0.0] * (source.features - len(clear))])


def _hidden(sheet: Sheet | None, facts: StudyFacts) -> list[Claim]:
    found = or_none(lambda: hidden(sheet, facts)) if sheet is not None else None
    shares, added, ahead = (found.shares, found.added, found.ahead) if found is not None else ([], [], [])
    clear, beyond, better = (
        sum(one.low > bound for one in several) for several, bound in ((shares, 0.5), (added, 0.0), (ahead, 0.0))
    )
    return [
        claim(
            "Some latents show what the outputs alone don't: they tell boards apart that have nearly equal Q-values",
            NOT_PUBLISHED,
            f"{beyond} of {len(added)} tested are right in more pairs than a decoder of the Q-values, by at most "
            f"{_highest(added)}; {clear} are right in more than half"
            if added
            else UNRECORDED,
            verdicts.any_exceeds(added, 0.0, "what a decoder of the exact Q-values gets right in the same pairs"),
            yes="Some latent tells boards apart where the Q-values hardly differ, and better than these do.",
            no="Where the Q-values hardly differ, no latent tells more than they do.",
            maybe="Whether any latent tells more than the Q-values can't be told.",
        ),
        claim(
            "Some tell their property better than a decoder of all Q-values (trees or perceptron, on 3,520 boards)",
            NOT_PUBLISHED,
            f"{better} of {len(ahead)} tested; largest lead in F1 {_highest(ahead)}" if ahead else UNRECORDED,
            verdicts.any_exceeds(ahead, 0.0, "the decoder's F1, that is, a lead of 0"),
            yes="A single latent tells some property better than either decoder reads it off all outputs.",
            no="Whatever a latent tells, a decoder reads off the exact outputs at least as well.",
            maybe="Latents and the decoder can't be told apart.",
        ),
    ]


def _highest(several: list[Interval]) -> str:
    return max(several, key=lambda one: one.low).text()


def _idle(sheet: Sheet | None) -> Claim:
    clear = sheet.clear.dropna(subset=["flip_rate"]) if sheet is not None else None
    idle = idle_latents(clear) if clear is not None else None
    ours = UNRECORDED
    if clear is not None and idle is not None:
        ours = f"{len(idle)} of {len(clear)} clear latents"
        if len(idle):
            ours += f", for one: {said(str(idle.iloc[0]['predicate']))} (F1 {number(idle.iloc[0]['f1_heldout'])})"
    return claim(
        "Some latents stand for what does not help the agent to play",
        NOT_PUBLISHED,
        ours,
        _some_idle(None if clear is None else len(clear), 0 if idle is None else len(idle)),
        yes="Some clear latents can be removed without changing the agent's moves.",
        no="The removal of any clear latent changes moves.",
        maybe="No latent stands for a property clearly enough to ask.",
    )


def _costless(sheet: Sheet | None) -> Claim:
    known = sheet.clear if sheet is not None else None
    costs = -known["return_effect"].dropna() if known is not None and "return_effect" in known else None
    rule = (
        f"Replicates if one of the latents removed (the clearest, F1 above chance at least {CLEAR:g}) costs at most "
        f"{NO_COST:g} points of the exact expected return; does not if each costs more; can't tell if none was removed."
    )
    verdict, ours = Verdict.UNCLEAR, UNRECORDED
    if costs is not None and len(costs):
        free = costs[costs <= NO_COST].sort_values()
        verdict = Verdict.REPLICATES if len(free) else Verdict.DIFFERS
        ours = f"{len(free)} of the {len(costs)} clearest; the others cost up to {number(float(costs.max()), 1)} points"
    return claim(
        "… or to earn more by it",
        NOT_PUBLISHED,
        ours,
        Ruling(verdict, rule),
        yes="Some of the clearest latents can be removed without costing the agent anything, though moves change.",
        no="The removal of each of the clearest latents costs return.",
        maybe="No clear latent was removed.",
    )


def _some_idle(clear: int | None, idle: int) -> Ruling:
    rule = (
        f"Replicates if the removal of some latent whose held-out F1 above chance is at least {CLEAR:g} changes the "
        f"move on at most {100 * NO_EFFECT:g} % of the boards at which it fires; does not if there are such latents "
        "and the removal of each changes more; can't tell if there are none."
    )
    if not clear:
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if idle else Verdict.DIFFERS, rule)


def _follows(signal: str, reader: Reader, facts: StudyFacts) -> Claim:
    names = tuple(SIGNALS)
    rows = or_none(lambda: selected(reader, facts, names))
    judged = or_none(lambda: thresholds(reader, facts, names))
    sae = or_none(lambda: main_sae(facts)) or ""
    latent = best(rows, "sae", signal, sae) if rows is not None else None
    limit = threshold_of(judged, latent, sae) if judged is not None and latent is not None else None
    ours = latent.heldout if latent is not None else None
    named = SIGNALS[signal]
    parts = [
        claim(
            "… beyond the best of as many chance latents, held out",
            NOT_PUBLISHED,
            f"{shown(ours)}; threshold {number(limit)}; p = {latent.p_familywise:.2g}"
            if latent and limit
            else UNRECORDED,
            verdicts.family_wise(latent.p_familywise if latent else None, facts.alpha, ours, limit),
            yes="A latent follows it more than any would by chance.",
            no="No latent follows it more than the best of as many would by chance.",
            maybe="The evidence is not clear, or its two halves disagree.",
        )
    ]
    for source, control in (("raw", "the layer's own units"), ("untrained", "units of an untrained network")):
        other = best(rows, source, signal) if rows is not None else None
        parts.append(
            claim(
                f"… and beyond {control}, held out",
                NOT_PUBLISHED,
                f"{shown(ours)} against {shown(other.heldout)}" if ours and other else UNRECORDED,
                verdicts.beyond(ours, other.heldout if other else None, control, facts.confidence),
                yes=f"The best latent follows it more closely than {control} do.",
                no=f"The best of {control} follows it more closely.",
                maybe=f"Neither the latent nor the best of {control} is clearly ahead.",
            )
        )
    return together(
        f"A latent follows the {named}",
        NOT_PUBLISHED,
        parts,
        yes="It does, beyond chance and controls.",
        no="Chance or a control does as well or better.",
        maybe="Part of the evidence is missing or not clear.",
    )
