"""The paper's claims about the Two-Step task (Demircan et al. 2025, arXiv 2410.01280), each put to a rule.

Beside them stand the claims that its reviewers and its confounds call for; those have no published number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jobs.published import headlines
from jobs.report import verdicts
from jobs.report.drawing import Claim
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.two_step import fig3_published, fig7_windows
from jobs.report.two_step.fig2b_behaviour import PUBLISHED_CHOICES, read_fits
from jobs.report.two_step.fig2gh_clamp import read_blocks
from jobs.report.two_step.lesions import Lesion, read_effects, read_lesions, td_lesion
from jobs.report.two_step.returns import CHANCE, own_return, paired_difference, read_returns
from jobs.report.two_step.strongest import GROUPS, Feature, best, selected, threshold_of, thresholds
from jobs.report.verdicts import Interval, Ruling, Verdict
from tdlens.figures import number

T = TypeVar("T")

NOT_PUBLISHED = "–"
UNRECORDED = "not recorded"
NEGLIGIBLE_R = 0.1
"""A correlation below this is taken for none: control latents are chosen under the same bound."""

SIGNALS = tuple(signal for group in GROUPS.values() for signal in group)
PAPER = {name: headline.value for name, headline in headlines("td_in_llms").items()}


def claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Every claim with its verdict, in the order of the paper."""
    parts: tuple[Callable[[Reader, StudyFacts], list[Claim]], ...] = (
        learner_claims,
        behaviour_claims,
        correlation_claims,
        lesion_claims,
        clamp_claims,
    )
    return [claim for part in parts for claim in part(reader, facts)]


def learner_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Whether the regressor is the paper's own."""
    errors = [
        _or_none(lambda: fig7_windows.largest_error(fig7_windows.read_windows(reader))),
        _or_none(lambda: fig3_published.largest_error(fig3_published.replayed_runs(reader))),
    ]
    known = [error for error in errors if error is not None]
    # a claim about both figures needs both
    largest = max(known) if len(known) == len(errors) else None
    ruling = verdicts.agrees(largest, fig3_published.TOLERANCE)
    return [
        _claim(
            "The published TD curves (Figs 3 and 7) follow from the learner used here",
            "curves",
            UNRECORDED if largest is None else f"largest difference {largest:.0e}",
            ruling,
            yes="Our learner draws the paper's own TD curves.",
            no="Our learner does not draw the paper's TD curves; no other row can be trusted until it does.",
            maybe="The published runs were not (all) replayed in this study.",
        )
    ]


def behaviour_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Figs 2A and 2B."""
    returns = _or_none(lambda: read_returns(reader, facts))
    earned = own_return(returns) if returns is not None else None
    found = [
        _claim(
            "The model earns more than chance",
            f"{number(PAPER['return_70b'])} against {number(CHANCE, 1)}",
            _shown(earned),
            verdicts.exceeds(earned, CHANCE, "chance"),
            yes="It earns more than random choices would.",
            no="It earns less than random choices would.",
            maybe="Its return can't be told from chance.",
        )
    ]
    fits = _or_none(lambda: read_fits(reader, facts))
    rivals = (
        ("chance", "Q-learning explains the choices better than chance", PAPER["nll_chance"]),
        ("myopic", "Q-learning explains the choices better than a myopic learner", PAPER["nll_myopic"]),
        (
            "repetition_unfitted",
            "… better than repetition (as published: not fitted)",
            PAPER["nll_repetition"],
        ),
        ("repetition", "… better than repetition with a fitted temperature", None),
        ("best_episode", "… better than copying the best episode so far (the reviewers' alternative)", None),
    )
    for name, text, published in rivals:
        fit = fits.get(name) if fits is not None else None
        difference = fit.minus_q if fit is not None else None
        # published sums are of 4,600 choices; ours may be of fewer
        scale = fit.n_choices / PUBLISHED_CHOICES if fit is not None else 1.0
        theirs = None if published is None else published - PAPER["nll_q_learning"]
        rival = text.split("better than ")[-1].split(" (")[0]
        found.append(
            _claim(
                text,
                NOT_PUBLISHED if theirs is None else f"{number(theirs, 0)} nats",
                _shown(difference, 1, " nats"),
                verdicts.effect(difference, None if theirs is None else theirs * scale, expected=1),
                yes=f"The choices are likelier under Q-learning than under {rival}.",
                no=f"Q-learning has no such advantage over {rival} here.",
                maybe=f"Q-learning and {rival} can't be told apart on these choices.",
            )
        )
    return found


def correlation_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Figs 2C and 2D, and what has to hold for them to mean something."""
    chosen = _or_none(lambda: selected(reader, facts, SIGNALS))
    judged = _or_none(lambda: thresholds(reader, facts, SIGNALS))
    sae = _or_none(lambda: facts.sae)

    def features(source: str, group: str) -> list[Feature]:
        if chosen is None or sae is None:
            return []
        name = sae if source == "sae" else None
        several = [best(chosen, source, signal, name) for signal in GROUPS[group]]
        return [feature for feature in several if feature is not None]

    found: list[Claim] = []
    for group, what, published in (
        ("td_error", "the TD error", PAPER["max_r_td_error"]),
        ("q_values", "Q-values", PAPER["max_r_q_value"]),
    ):
        ours = features("sae", group)
        together = verdicts.average([feature.r for feature in ours])
        limits = [
            threshold_of(judged, feature, sae) if judged is not None and sae is not None else None for feature in ours
        ]
        found.append(_family_claim(what, published, ours, limits, facts.alpha))
        partial = verdicts.average([verdicts.shifted(feature.r, feature.partial) for feature in ours])
        found.append(
            _claim(
                f"… and beyond {', '.join(facts.covariates)} (partial r)",
                NOT_PUBLISHED,
                _shown(partial),
                verdicts.exceeds(partial, NEGLIGIBLE_R, "the largest r that counts as none"),
                yes=f"The latent follows {what} beyond what the covariates explain.",
                no=f"Once the covariates are held constant, the latent no longer follows {what}.",
                maybe="What remains beyond the covariates is not clear.",
            )
        )
        for source, named in (("untrained", "an untrained model's dimensions"), ("raw", "raw dimensions")):
            control = verdicts.average([feature.r for feature in features(source, group)])
            found.append(
                _claim(
                    f"… and beyond {named}",
                    NOT_PUBLISHED,
                    f"{_shown(together)} against {_shown(control)}" if control else UNRECORDED,
                    verdicts.beyond(together, control, named),
                    yes=f"The best latent follows {what} more closely than the best of {named}.",
                    no=f"The best of {named} follows {what} at least as closely.",
                    maybe=f"The latent is ahead of {named}, but not clearly.",
                )
            )
    for higher, lower, names in (
        # in this order in the paper: myopic values ahead of Q-values, TD errors ahead of myopic errors
        ("myopic_values", "q_values", ("myopic values", "Q-values")),
        ("td_error", "myopic_error", ("TD errors", "myopic errors")),
    ):
        first, second = (verdicts.average([f.r for f in features("sae", group)]) for group in (higher, lower))
        numbers = (PAPER[f"max_r_{group.removesuffix('s')}"] for group in (higher, lower))
        found.append(
            _claim(
                f"Latents follow {names[0]} more closely than {names[1]}",
                " against ".join(number(r) for r in numbers),
                f"{_shown(first)} against {_shown(second)}",
                verdicts.beyond(first, second, names[1]),
                yes=f"As in the paper, {names[0]} have the higher correlation.",
                no=f"Unlike in the paper, {names[1]} have at least as high a correlation.",
                maybe=f"{names[0][0].upper() + names[0][1:]} come out ahead, but the intervals overlap.",
            )
        )
    return found


def _family_claim(what: str, published: float, ours: list[Feature], limits: list[float | None], alpha: float) -> Claim:
    known = [limit for limit in limits if limit is not None]
    if ours and len(known) == len(ours):
        n = len(ours)
        p, heldout = max(f.p_familywise for f in ours), sum(f.heldout for f in ours) / n
        threshold = sum(known) / n
        ruling = verdicts.family_wise(p, alpha, heldout, threshold)
        r = verdicts.average([feature.r for feature in ours])
        shown = f"r {_shown(r)}; held out {number(heldout)}; threshold {number(threshold)}; p = {p:.2g}"
    else:
        ruling, shown = verdicts.family_wise(None, alpha, None, None), UNRECORDED
    return _claim(
        f"There are latents that follow {what}, beyond the best of as many chance latents",
        f"r = {number(published)}",
        shown,
        ruling,
        yes=f"A latent follows {what} more than any would by chance, on rollouts it was not chosen on too.",
        no=f"No latent follows {what} more than the best of as many would by chance.",
        maybe="The two halves of the evidence disagree, or are missing.",
    )


def lesion_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Figs 2E and 2F, against every control that was run."""
    lesions = _or_none(lambda: read_lesions(reader, facts)) or []
    lesion = _or_none(lambda: td_lesion(lesions))
    returns = _or_none(lambda: read_returns(reader, facts))
    controls = lesion.controls(lesions) if lesion is not None else []
    drop = PAPER["return_td_lesion"] - PAPER["return_70b"]

    effects = read_effects(reader)

    def change(one: Lesion | None) -> Interval | None:
        effect = effects.get((one.name, "return")) if one is not None else None
        return effect.difference if effect is not None else None

    lowered = change(lesion)
    found = [
        _claim(
            "Zeroing the TD latents lowers the return",
            f"{number(drop)} points",
            _shown(lowered, 2, " points"),
            verdicts.effect(lowered, drop, expected=-1),
            yes="Without its TD latents the model earns less.",
            no="Zeroing the TD latents does not cost what it cost in the paper.",
            maybe="Whether it costs anything can't be told from these rollouts.",
        )
    ]
    for control in controls:
        if control.control == "td_minus_q":
            continue
        more = None
        if lesion is not None and returns is not None:
            more = paired_difference(returns, lesion.name, control.name)
        found.append(
            _claim(
                f"… more than the same edit on {control.label}",
                NOT_PUBLISHED,
                _shown(more, 2, " points"),
                verdicts.effect(more, None, expected=-1),
                yes="The TD latents matter more than these.",
                no="Zeroing these costs even more.",
                maybe="The two lesions can't be told apart.",
            )
        )
    overlap = next((control for control in controls if control.control == "td_minus_q"), None)
    remaining = change(overlap)
    found.append(
        _claim(
            "… also without the latents that are among the strongest for Q-values",
            NOT_PUBLISHED,
            _shown(remaining, 2, " points"),
            verdicts.effect(remaining, None, expected=-1),
            yes="The effect is not only that of Q-value latents.",
            no="Without the Q-value latents among them, the lesion costs nothing: it raises the return.",
            maybe="Once Q-value latents are spared, no cost can be shown: they may explain the lesion's effect.",
        )
    )
    return [*found, *_likeness_claims(reader, facts, lesion, controls)]


def _likeness_claims(reader: Reader, facts: StudyFacts, lesion: Lesion | None, controls: list[Lesion]) -> list[Claim]:
    effects = read_effects(reader)
    fits = _or_none(lambda: read_fits(reader, facts))
    choices = next(iter(fits.values())).n_choices if fits else PUBLISHED_CHOICES
    scale = choices / PUBLISHED_CHOICES

    def change(one: Lesion | None) -> Interval | None:
        effect = effects.get((one.name, "nll_q")) if one is not None else None
        return effect.difference if effect is not None else None

    published = PAPER["nll_td_lesion"] - PAPER["nll_no_lesion"]
    ours = change(lesion)
    found = [
        _claim(
            "Zeroing the TD latents makes behaviour less like Q-learning",
            f"{number(published, 0)} nats",
            _shown(ours, 1, " nats"),
            verdicts.effect(ours, published * scale, expected=1),
            yes="The lesioned model's choices are less likely under the Q-model.",
            no="The lesion does not take behaviour away from the Q-model as it did in the paper.",
            maybe="Whether behaviour becomes less like Q-learning can't be told.",
        )
    ]
    for control in controls:
        if control.control == "td_minus_q":
            continue
        other = change(control)
        theirs = PAPER["nll_control_lesion"] - PAPER["nll_no_lesion"]
        found.append(
            _claim(
                f"… more than the same edit on {control.label}",
                f"{number(published, 0)} against {number(theirs, 0)} nats"
                if control.control == "lowest"
                else NOT_PUBLISHED,
                f"{_shown(ours, 1)} against {_shown(other, 1)} nats",
                verdicts.beyond(ours, other, "the control"),
                yes="The TD latents matter more for this than these.",
                no="Zeroing these takes behaviour at least as far away.",
                maybe="The TD lesion is ahead, but not clearly.",
            )
        )
    return found


def clamp_claims(reader: Reader, facts: StudyFacts) -> list[Claim]:
    """Figs 2G and 2H."""
    lesions = _or_none(lambda: read_lesions(reader, facts)) or []
    lesion = _or_none(lambda: td_lesion(lesions, "clamp"))
    found = []
    for group, what, key in (
        ("q_values", "Q-values", "clamp_r_q_value"),
        ("td_error", "the TD error", "clamp_r_td_error"),
    ):
        change = None
        if lesion is not None:
            blocks = read_blocks(reader, lesion, group)
            later = [row.difference for row in blocks if row.block > lesion.block]
            change = verdicts.average(later)
        published = PAPER[key] - PAPER[f"{key}_no_lesion"]
        found.append(
            _claim(
                f"Clamping the TD latents lowers later blocks' correlation with {what}",
                f"{number(published)} in r",
                _shown(change, 2, " in r"),
                verdicts.effect(change, published, expected=-1),
                yes=f"Later blocks follow {what} less.",
                no=f"Later blocks follow {what} no less, or less so than in the paper.",
                maybe=f"Whether later blocks follow {what} less can't be told.",
            )
        )
    return found


def _claim(text: str, published: str, ours: str, ruling: Ruling, *, yes: str, no: str, maybe: str) -> Claim:
    sentence = {Verdict.REPLICATES: yes, Verdict.DIFFERS: no, Verdict.UNCLEAR: maybe}[ruling.verdict]
    if UNRECORDED in ours and ruling.verdict is Verdict.UNCLEAR:
        sentence = "This study has not recorded what it takes to tell."
    return Claim(text, published, ours, ruling, sentence)


def _shown(interval: Interval | None, digits: int = 2, unit: str = "") -> str:
    return UNRECORDED if interval is None else interval.text(digits) + unit


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except NotRecorded:
        return None
