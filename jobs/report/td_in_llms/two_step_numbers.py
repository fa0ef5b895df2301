"""Headline numbers of the Two-Step task."""

from __future__ import annotations

from collections.abc import Callable

from jobs.report.latents_in_use import read_saes
from jobs.report.later_blocks import read_blocks
from jobs.report.lesions import Lesion, read_effects, read_lesions, td_lesion
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.strongest import best, selected
from jobs.report.td_in_llms.row import Measured, Row
from jobs.report.two_step.fig2b_behaviour import PUBLISHED_CHOICES, read_fits
from jobs.report.two_step.groups import GROUPS
from jobs.report.two_step.returns import over_own, own_return, read_returns, yardsticks_of
from jobs.report.verdicts import Interval, average

EARNS = "The model earns more than chance"
COSTS = "Zeroing the TD latents lowers the return, more than zeroing anything else"
EXPLAINS = "Q-learning explains the choices better than its rivals"
LIKENESS = "Zeroing the TD latents makes behaviour less like Q-learning, more than zeroing anything else"
FINDS_TD = "The autoencoder finds latents that follow the TD error"
FINDS_Q = "The autoencoder finds latents that follow Q-values"
MYOPIC = "Latents follow myopic values more closely than Q-values"
CLAMP = "Clamping the TD latents lowers later blocks' correlation with {}"


def _return(reader: Reader, facts: StudyFacts) -> Measured:
    return own_return(read_returns(reader, facts))


def _lesioned_return(reader: Reader, facts: StudyFacts) -> Measured:
    return own_return(read_returns(reader, facts), td_lesion(read_lesions(reader, facts)).name)


def _yardstick(name: str) -> Callable[[Reader, StudyFacts], Measured]:
    return lambda reader, facts: over_own(yardsticks_of(facts)[name], read_returns(reader, facts))


def _nll(model: str) -> Callable[[Reader, StudyFacts], Measured]:
    """As many choices as published; the interval is that of the difference from Q-learning."""

    def measure(reader: Reader, facts: StudyFacts) -> Measured:
        fits = read_fits(reader, facts)
        if model not in fits:
            raise NotRecorded(f"the fit of {model}")
        fit, scale = fits[model], PUBLISHED_CHOICES / fits[model].n_choices
        reference = fit.nll - fit.minus_q.value
        if model in ("q_learning", "chance"):
            return fit.nll * scale
        return Interval(fit.nll * scale, (reference + fit.minus_q.low) * scale, (reference + fit.minus_q.high) * scale)

    return measure


def _lesioned_nll(role: str) -> Callable[[Reader, StudyFacts], Measured]:
    """As many choices as published; the interval is that of the change."""

    def measure(reader: Reader, facts: StudyFacts) -> Measured:
        lesions, effects = read_lesions(reader, facts), read_effects(reader)
        lesion = td_lesion(lesions)
        of: Lesion | None = lesion
        if role == "lowest":
            of = next((one for one in lesion.controls(lesions) if one.control == role), None)
        effect = effects.get((of.name, "nll_q")) if of is not None else None
        if effect is None:
            raise NotRecorded("the likelihood of the lesioned choices")
        scale = PUBLISHED_CHOICES / next(iter(read_fits(reader, facts).values())).n_choices
        if role == "intact":
            return effect.baseline * scale
        low, high = effect.baseline + effect.difference.low, effect.baseline + effect.difference.high
        return Interval(effect.value * scale, low * scale, high * scale)

    return measure


def highest_r(signals: tuple[str, ...]) -> Callable[[Reader, StudyFacts], Measured]:
    """The latent chosen on one half of the rollouts, scored on the other; the mean over signals."""

    def measure(reader: Reader, facts: StudyFacts) -> Measured:
        chosen = selected(reader, facts, signals)
        features = [best(chosen, "sae", signal, facts.sae) for signal in signals]
        return average([feature.heldout for feature in features if feature is not None])

    return measure


def _place(reader: Reader, facts: StudyFacts) -> Measured:
    feature = best(selected(reader, facts, GROUPS["td_error"]), "sae", "td_error", facts.sae)
    return None if feature is None else f"block {feature.block} of {facts.n_blocks}"


def _clamped(group: str, *, intact: bool) -> Callable[[Reader, StudyFacts], Measured]:
    """Mean over the blocks after the clamped one; the interval is that of the change."""

    def measure(reader: Reader, facts: StudyFacts) -> Measured:
        lesion = td_lesion(read_lesions(reader, facts), "clamp")
        rows = [row for row in read_blocks(reader, lesion, GROUPS[group]) if lesion.before(row.block)]
        if not rows:
            raise NotRecorded("correlations after the clamped block")
        baseline = sum(row.baseline for row in rows) / len(rows)
        change = average([row.difference for row in rows])
        if intact or change is None:
            return baseline
        return Interval(baseline + change.value, baseline + change.low, baseline + change.high)

    return measure


def live_latents(reader: Reader, facts: StudyFacts) -> Measured:
    """Fewest and most varying latents of a block, in the first autoencoder."""
    saes = read_saes(reader, facts)
    varying = saes.loc[saes["sae"] == facts.sae, "non_constant"]
    return f"{int(varying.min())} to {int(varying.max())}"


ROWS: tuple[Row, ...] = (
    Row("Return of the model's own episodes", "return_70b", _return, "fig2a_returns", EARNS, unit="points"),
    Row("… of Llama 3 8B", "return_8b", None, "fig2a_returns", unit="points"),
    Row(
        "… with the TD latents zeroed",
        "return_td_lesion",
        _lesioned_return,
        "fig2e_lesion_returns",
        COSTS,
        unit="points",
    ),
    Row("… of random choices", "return_chance", _yardstick("chance"), "fig2a_returns", unit="points"),
    Row("… of the best choices", "return_optimal", _yardstick("optimum"), "fig2a_returns", unit="points"),
    Row(
        "NLL of 4,600 choices: Q-learning", "nll_q_learning", _nll("q_learning"), "fig2b_behaviour", EXPLAINS, 0, "nats"
    ),
    Row("… myopic", "nll_myopic", _nll("myopic"), "fig2b_behaviour", EXPLAINS, 0, "nats"),
    Row("… repetition", "nll_repetition", _nll("repetition_unfitted"), "fig2b_behaviour", EXPLAINS, 0, "nats"),
    Row("… chance", "nll_chance", _nll("chance"), "fig2b_behaviour", "", 0, "nats"),
    Row("… Q-learning, no lesion", "nll_no_lesion", _lesioned_nll("intact"), "fig2f_lesion_nll", LIKENESS, 0, "nats"),
    Row("… TD latents zeroed", "nll_td_lesion", _lesioned_nll("none"), "fig2f_lesion_nll", LIKENESS, 0, "nats"),
    Row(
        "… control latents zeroed",
        "nll_control_lesion",
        _lesioned_nll("lowest"),
        "fig2f_lesion_nll",
        LIKENESS,
        0,
        "nats",
    ),
    Row("Best TD latent: r", "max_r_td_error", highest_r(GROUPS["td_error"]), "fig2cd_correlations", FINDS_TD),
    Row("… where", "block 34 of 80", _place, "fig2cd_correlations"),
    Row("Highest r with Q-values", "max_r_q_value", highest_r(GROUPS["q_values"]), "fig2cd_correlations", FINDS_Q),
    Row(
        "… with myopic values", "max_r_myopic_value", highest_r(GROUPS["myopic_values"]), "fig2cd_correlations", MYOPIC
    ),
    *(
        row
        for group, key, name in (
            ("q_values", "clamp_r_q_value", "Q-values"),
            ("td_error", "clamp_r_td_error", "the TD error"),
        )
        for row in (
            Row(
                f"Later blocks' highest r with {name}", f"{key}_no_lesion", _clamped(group, intact=True), "fig2gh_clamp"
            ),
            Row("… TD latents clamped", key, _clamped(group, intact=False), "fig2gh_clamp", CLAMP.format(name)),
        )
    ),
    Row("Latents of a block that vary", "1 to 16", live_latents, "fig8_latents"),
)
