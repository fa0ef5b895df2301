"""Whether a published claim holds in a record: a few explicit rules, the same for every study.

Each rule is a pure function of numbers and says in words what it asked, so that a page can print the rule beside its
outcome. No rule concludes from silence: without numbers the verdict is *can't tell*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from tdlens.figures import number

ROUNDING = 1e-9
"""Numbers no larger are the errors of others."""


class Verdict(StrEnum):
    """What the data say about a claim."""

    REPLICATES = "replicates"
    DIFFERS = "does not replicate"
    UNCLEAR = "can't tell"


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval: correlations at the confidence of their study, all others at 95 %."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether all three are numbers."""
        return all(math.isfinite(x) for x in (self.value, self.low, self.high))

    def text(self, digits: int = 2) -> str:
        """``0.41 [0.37, 0.45]``; with more digits where one that isn't 0 would be written as 0."""
        digits = enough(digits, self.value, self.low, self.high)
        if not self.known:
            return number(self.value, digits)
        return f"{number(self.value, digits)} [{number(self.low, digits)}, {number(self.high, digits)}]"


@dataclass(frozen=True)
class Ruling:
    """A verdict and the rule that gave it."""

    verdict: Verdict
    rule: str


def enough(digits: int, *values: float) -> int:
    """As many digits or more, so that no number that isn't 0 is written as 0.

    There are at most three significant digits of the largest number; what is less than a rounding error counts as 0.
    """
    sizes = [abs(value) for value in values if math.isfinite(value) and abs(value) > ROUNDING]
    if not sizes:
        return digits
    least, most = (-math.floor(math.log10(size)) for size in (min(sizes), max(sizes)))
    return max(digits, min(least, most + 2))


def percent(confidence: float) -> str:
    """A confidence in words: ``95 %``."""
    return f"{100 * confidence:g} %"


def _bound(value: float, digits: int = 2) -> str:
    return number(value, enough(digits, value))


def exceeds(ours: Interval | None, bound: float, named: str) -> Ruling:
    """An estimate against a fixed bound."""
    rule = (
        f"Replicates if the 95 % interval lies above {named} ({_bound(bound)}); "
        "does not if it lies below; can't tell if it contains it."
    )
    if ours is None or not ours.known or not math.isfinite(bound):
        return Ruling(Verdict.UNCLEAR, rule)
    if ours.low > bound:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if ours.high < bound else Verdict.UNCLEAR, rule)


@dataclass(frozen=True)
class Null:
    """What a permutation null gives in one block: its mean, and its threshold for a family of blocks."""

    mean: float
    threshold: float


def above_null(ours: Interval | None, null: Null | None, permuted: str) -> Ruling:
    """The highest of several blocks against the null of that block, whose threshold allows for the choice.

    Args:
        ours: the highest value with its interval, which knows nothing of the choice.
        null: of the same block.
        permuted: what the null permutes.
    """
    known = null is not None and math.isfinite(null.mean) and math.isfinite(null.threshold)
    bound, mean = (
        (f" ({_bound(null.threshold)})", f" ({_bound(null.mean)})") if null is not None and known else ("", "")
    )
    rule = (
        f"Replicates if the value lies above the family-wise threshold of permuted {permuted} in its block{bound} and "
        f"its 95 % interval above their mean{mean}; does not if the interval lies below the threshold; else can't tell."
    )
    if ours is None or not ours.known or null is None or not known:
        return Ruling(Verdict.UNCLEAR, rule)
    if ours.value > null.threshold and ours.low > null.mean:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if ours.high < null.threshold else Verdict.UNCLEAR, rule)


def remains(partial: Interval | None, heldout: float, bound: float, confidence: float) -> Ruling:
    """A partial correlation over all rollouts and on the held-out half against the largest that counts as none."""
    rule = (
        f"Replicates if the {percent(confidence)} interval over all rollouts and the held-out partial r lie above the "
        f"largest r that counts as none ({_bound(bound)}); does not if the interval lies below; else can't tell."
    )
    if partial is None or not partial.known or not math.isfinite(heldout):
        return Ruling(Verdict.UNCLEAR, rule)
    if partial.low > bound and heldout > bound:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if partial.high < bound else Verdict.UNCLEAR, rule)


def effect(difference: Interval | None, published: float | None, *, expected: int) -> Ruling:
    """A difference that is expected to be positive (``expected`` = 1) or negative (-1).

    Args:
        difference: ours.
        published: the published difference in the same unit, where there is one. An interval around 0 that excludes
            it is evidence against an effect of that size; without it such an interval tells nothing.
    """
    side, other = ("above", "below") if expected > 0 else ("below", "above")
    rule = f"Replicates if the 95 % interval lies {side} 0; does not if it lies {other} 0"
    if published is not None:
        size = _bound(published, 2 if abs(published) < 10 else 0)
        rule += f", or contains 0 and stops short of the published {size}"
    rule += "; else can't tell."
    if difference is None or not difference.known:
        return Ruling(Verdict.UNCLEAR, rule)
    low, high = sorted((expected * difference.low, expected * difference.high))
    if low > 0:
        return Ruling(Verdict.REPLICATES, rule)
    too_small = published is not None and high < expected * published
    return Ruling(Verdict.DIFFERS if high < 0 or too_small else Verdict.UNCLEAR, rule)


def stops_short(control: Interval | None, effect: Interval | None, share: float, named: str) -> Ruling:
    """A control that ought to lack an effect: whether it has less than a share of it.

    Args:
        control: what the control does.
        effect: what it is a control for, expected to be positive.
        share: of the effect.
        named: the effect in words.
    """
    clear = effect is not None and effect.known and effect.low > 0
    bound = share * effect.value if effect is not None and clear else math.nan
    size = f" ({_bound(bound)})" if math.isfinite(bound) else ""
    rule = (
        f"Replicates if the control's 95 % interval lies below {percent(share)} of {named}{size}; does not if it lies "
        f"above; can't tell if it contains it, or if {named} isn't itself above 0."
    )
    if control is None or not control.known or not math.isfinite(bound):
        return Ruling(Verdict.UNCLEAR, rule)
    if control.high < bound:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if control.low > bound else Verdict.UNCLEAR, rule)


def negligible(difference: Interval | None, margin: float) -> Ruling:
    """Whether a difference is as good as none."""
    rule = (
        f"Replicates if the 95 % interval lies within ±{margin:g}; does not if it lies outside; can't tell if it "
        "reaches across a limit."
    )
    if difference is None or not difference.known:
        return Ruling(Verdict.UNCLEAR, rule)
    if -margin <= difference.low and difference.high <= margin:
        return Ruling(Verdict.REPLICATES, rule)
    outside = difference.low > margin or difference.high < -margin
    return Ruling(Verdict.DIFFERS if outside else Verdict.UNCLEAR, rule)


def unless(ruling: Ruling, idle: bool, when: str) -> Ruling:
    """A ruling on a claim that something else may fulfil as well, which then says nothing for it.

    Args:
        ruling: without that.
        idle: whether it is so.
        when: in words.
    """
    rule = f"{ruling.rule} Can't tell, rather than replicates, if {when}."
    void = idle and ruling.verdict is Verdict.REPLICATES
    return Ruling(Verdict.UNCLEAR if void else ruling.verdict, rule)


def compared(difference: Interval | None, published: float) -> str:
    """Words for a sentence about an effect: whether its interval excludes the published size."""
    if difference is None or not difference.known or difference.low <= published <= difference.high:
        return ""
    return ", by less than published" if abs(difference.value) < abs(published) else ", by more than published"


def beyond(ours: Interval | None, control: Interval | None, named: str, confidence: float = 0.95) -> Ruling:
    """An estimate against that of a control, when only their separate intervals are known."""
    rule = (
        f"Replicates if our {percent(confidence)} interval lies wholly above that of {named}; "
        "does not if it lies wholly below; can't tell if they overlap."
    )
    if ours is None or control is None or not ours.known or not control.known:
        return Ruling(Verdict.UNCLEAR, rule)
    if ours.low > control.high:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if ours.high < control.low else Verdict.UNCLEAR, rule)


def family_wise(p: float | None, alpha: float, heldout: Interval | None, threshold: float | None) -> Ruling:
    """The best of many latents against the null that permutes whole rollouts, and again on held-out rollouts.

    Args:
        p: family-wise p-value over all rollouts of the latent chosen on half of them.
        alpha: family-wise error rate.
        heldout: its r on the other half.
        threshold: the largest r that is significant family-wise among the latents of its block.
    """
    rule = (
        f"Replicates if the family-wise p is at most {alpha:g} and the held-out r reaches the block's largest "
        f"family-wise threshold; does not if p is higher and the held-out {percent(1 - alpha)} interval lies wholly "
        "below the threshold; else can't tell."
    )
    if p is None or heldout is None or threshold is None or not heldout.known:
        return Ruling(Verdict.UNCLEAR, rule)
    if not (math.isfinite(p) and math.isfinite(threshold)):
        return Ruling(Verdict.UNCLEAR, rule)
    if p <= alpha and heldout.value >= threshold:
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if p > alpha and heldout.high < threshold else Verdict.UNCLEAR, rule)


def agrees(largest_error: float | None, tolerance: float) -> Ruling:
    """Curves that ought to be equal."""
    rule = f"Replicates if no point differs by more than {tolerance:g}; does not if one does."
    if largest_error is None or not math.isfinite(largest_error):
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if largest_error <= tolerance else Verdict.DIFFERS, rule)


def together(verdicts: Sequence[Verdict]) -> Ruling:
    """A claim that consists of several: a condition that can't be told never counts against it, nor for it."""
    rule = "Replicates if all of the rows below do; does not if any of them clearly does not; else can't tell."
    if verdicts and all(verdict is Verdict.REPLICATES for verdict in verdicts):
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if Verdict.DIFFERS in verdicts else Verdict.UNCLEAR, rule)


def between(ours: float | None, low: float, high: float, digits: int = 2) -> Ruling:
    """A number without an interval against a band that was stated before."""
    rule = (
        f"Replicates if the number lies between {number(low, digits)} and {number(high, digits)}; does not if outside."
    )
    if ours is None or not math.isfinite(ours):
        return Ruling(Verdict.UNCLEAR, rule)
    return Ruling(Verdict.REPLICATES if low <= ours <= high else Verdict.DIFFERS, rule)


def rises(several: Sequence[Interval], along: str) -> Ruling:
    """Estimates that ought to grow in the order in which they are given."""
    rule = (
        f"Replicates if no estimate is lower than one at a smaller {along}; does not if the 95 % interval of one lies "
        f"wholly below that at a smaller {along}; else can't tell."
    )
    if len(several) < 2 or not all(one.known for one in several):
        return Ruling(Verdict.UNCLEAR, rule)
    pairs = [(several[i], later) for i in range(len(several)) for later in several[i + 1 :]]
    if all(later.value >= earlier.value for earlier, later in pairs):
        return Ruling(Verdict.REPLICATES, rule)
    fallen = any(later.high < earlier.low for earlier, later in pairs)
    return Ruling(Verdict.DIFFERS if fallen else Verdict.UNCLEAR, rule)


def any_exceeds(several: Sequence[Interval], bound: float, named: str, digits: int = 2) -> Ruling:
    """Whether at least one of several estimates lies above a bound; the intervals allow for their number.

    Args:
        several: estimates minus what each is compared with, or as they are.
        bound: what one of them has to exceed.
        named: the bound in words.
        digits: of the bound.
    """
    rule = (
        f"Replicates if the interval of at least one, widened for all that were tested (Bonferroni), lies above "
        f"{named} ({_bound(bound, digits)}); does not if all of them lie below; else can't tell."
    )
    known = [one for one in several if one.known]
    if not known:
        return Ruling(Verdict.UNCLEAR, rule)
    if any(one.low > bound for one in known):
        return Ruling(Verdict.REPLICATES, rule)
    return Ruling(Verdict.DIFFERS if all(one.high < bound for one in known) else Verdict.UNCLEAR, rule)


def widened(interval: Interval, tests: int, alpha: float = 0.05, freedom: float = math.inf) -> Interval:
    """A 95 % interval as one of several that are to hold together with probability 1 - alpha (Bonferroni).

    Args:
        interval: of one.
        tests: how many there are.
        alpha: by how much they may err together.
        freedom: degrees of freedom of Student's interval; infinite of a normal one.
    """
    wide, narrow = (float(stats.t.ppf(1 - tail / 2, freedom)) for tail in (alpha / max(tests, 1), 0.05))
    factor = wide / narrow
    low, high = interval.value - interval.low, interval.high - interval.value
    return Interval(interval.value, interval.value - factor * low, interval.value + factor * high)


def share_interval(hits: int, n: int) -> Interval | None:
    """A share of n with Wilson's 95 % interval; None of nothing."""
    if n < 1:
        return None
    bounds = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return Interval(hits / n, float(bounds.low), float(bounds.high))


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Mean of one value a rollout with Student's 95 % interval; None for fewer than two rollouts."""
    sample = np.asarray(values, dtype=np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size < 2:
        return None
    mean = float(sample.mean())
    half = float(stats.t.ppf(0.975, sample.size - 1) * sample.std(ddof=1) / np.sqrt(sample.size))
    return Interval(mean, mean - half, mean + half)


def negated(interval: Interval | None) -> Interval | None:
    """The same quantity counted downwards."""
    return None if interval is None else Interval(-interval.value, -interval.high, -interval.low)


def average(intervals: Sequence[Interval]) -> Interval | None:
    """Mean of estimates from the same rollouts, bounds averaged too: never narrower than the true interval."""
    known = [interval for interval in intervals if interval.known]
    if not known:
        return None
    return Interval(*(float(np.mean([getattr(i, name) for i in known])) for name in ("value", "low", "high")))
