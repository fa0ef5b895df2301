"""Estimators and rules of the page on searches for attention heads, against plain loops and by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, hypot

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from envs.head_ablation import TableScores
from jobs.circuits.searchers import Proposal, Seen, search
from jobs.report import verdicts
from jobs.report.head_ablation import authors, matched
from jobs.report.head_ablation.fig_learning import reached_untrained, transitions_to
from jobs.report.head_ablation.fig_pairs import Pair, above
from jobs.report.head_ablation.heads import overlap
from jobs.report.head_ablation.searches import Floats, Found
from jobs.report.verdicts import Interval, Verdict, mean_interval

YES, NO, MAYBE = Verdict.REPLICATES, Verdict.DIFFERS, Verdict.UNCLEAR


def synthetic_found(
    rng: np.random.Generator, episodes: tuple[int, ...] = (0, 1, 2, 3), seeds: int = 2, learned: bool = True
) -> Found:
    """One head a step; whether it is better than the ones before is known with its passes."""
    shape = (seeds, len(episodes), 5)
    best = np.maximum.accumulate(rng.normal(1, 1, shape), axis=2)
    passes = np.cumsum(rng.integers(1, 4, shape), axis=2) + 2.0
    rises, oracle = np.stack([passes, best], axis=3), best.max((0, 2)) + rng.uniform(0.1, 1, len(episodes))
    return Found(best, passes, rises, oracle, tuple(range(seeds)), episodes, learned)


def ended(values: Floats, oracle: Floats) -> Found:
    """Searches of one step each that found that [S, E]."""
    best = values[:, :, None]
    passes = np.full(best.shape, 4.0)
    several = tuple(range(values.shape[1]))
    return Found(best, passes, np.stack([passes, best], axis=3), oracle, tuple(range(len(values))), several, True)


@dataclass(frozen=True)
class Uniform:
    """Asks for k untried heads, each as likely."""

    k: int
    overhead: int = 0

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        heads = [
            rng.permutation(np.flatnonzero(~tried))[: self.k] for tried, rng in zip(seen.tried, chances, strict=True)
        ]
        return Proposal(np.array(heads))


def uniformly(k: int, tables: list[TableScores], steps: int, seed: int) -> Found:
    """As read from a record."""
    found = search(Uniform(k), tables, steps, [(seed, i) for i in range(len(tables))])
    longest = max(len(one.rises) for one in found)
    rises = np.array([[*one.rises, *[(np.inf, 0.0)] * (longest - len(one.rises))] for one in found])[None]
    best, passes = (np.array([getattr(one, name) for one in found])[None] for name in ("best_scores", "passes"))
    oracle = np.array([one.scores.max() for one in tables])
    return Found(best, passes.astype(float), rises, oracle, (0,), tuple(range(len(tables))), False)


def test_a_policy_that_knows_nothing_gains_nothing_by_asking_for_more_at_equal_passes() -> None:
    rng = np.random.default_rng(0)
    tables = []
    for _ in range(400):
        damage = rng.exponential(0.3, 24)
        damage[rng.integers(24)] = 4.0
        tables.append(TableScores(damage, np.zeros(24), 1.0, 6, 4))
    steps = 8
    budget = 2 + 2 * steps
    several, single = uniformly(5, tables, steps, 1), uniformly(1, tables, steps, 2)
    difference = matched.compare(several, single, lambda one: one.per_pass(budget))
    assert difference is not None and difference.low < 0 < difference.high and abs(difference.value) < 0.03
    at_the_end_of_steps = replace(several, rises=np.stack([several.passes, several.best], axis=3))
    late = matched.compare(at_the_end_of_steps, single, lambda one: one.per_pass(budget))
    assert late is not None and late.high < -0.03  # what crediting whole steps would say


def simulated_coverage(seeds: int, runs: int = 500, level: float = 0.8, seed_sd: float = 0.1) -> float:
    """How often the interval holds the truth: levels of trainings, of episodes, and noise of each."""
    rng, hits = np.random.default_rng(seeds), 0
    for _ in range(runs):
        oracle = rng.normal(3, 0.3, 30)
        shares = level + rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, 0.15, (seeds, 30))
        interval = matched.share(ended(shares * oracle, oracle))
        hits += interval.low <= level <= interval.high
    return hits / runs


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_of_few_seeds_cover(seeds: int) -> None:
    assert simulated_coverage(seeds) >= 0.92
    assert simulated_coverage(seeds, seed_sd=0.0) >= 0.92
    assert simulated_coverage(seeds, level=0.4, seed_sd=0.03) >= 0.92


def test_differences_of_few_seeds_cover() -> None:
    rng, hits = np.random.default_rng(9), 0
    for _ in range(500):
        oracle = rng.normal(3, 0.3, 30)
        first, second = (
            (share + rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.15, (3, 30))) * oracle for share in (0.6, 0.5)
        )
        found = matched.compare(ended(first, oracle), ended(second, oracle), Found.at_end)
        hits += found is not None and found.low <= 0.1 <= found.high
    assert hits >= 0.92 * 500


def test_of_many_pairs_without_excess_few_studies_find_one() -> None:
    """16 episodes, 66 pairs: Student's tails are far from normal ones there."""
    rng, found = np.random.default_rng(3), 0
    runs = 200
    for _ in range(runs):
        pairs = []
        for values in rng.normal(0, 1, (66, 16)):
            interval = mean_interval(values.tolist())
            assert interval is not None
            pairs.append(Pair("ioi", "0.0", "0.1", 0.0, interval, interval, 16))
        found += any(above(pairs, "hidden"))
    assert found <= 0.06 * runs  # half of 5 % by chance, and what 200 studies may stray


def test_intervals_are_widened_by_students_quantile() -> None:
    one = mean_interval([0.1, 0.4, 0.2, 0.7, 0.3])
    assert one is not None
    several = verdicts.widened(one, 66, freedom=4)
    wanted = stats.t.ppf(1 - 0.05 / 132, 4) * np.std([0.1, 0.4, 0.2, 0.7, 0.3], ddof=1) / np.sqrt(5)
    assert several.high - several.value == pytest.approx(wanted)
    assert several.high - several.value > verdicts.widened(one, 66).high - one.value


def test_a_share_counts_from_when_it_is_kept() -> None:
    shares = {0: [0.5, 0.96, 0.5, 0.5, 0.97, 0.94, 0.96, 0.97, 0.9], 1: [0.96, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0]}
    progress = pd.DataFrame(
        [
            {"task": "ioi", "best_of": 1, "seed": seed, "transitions": 100 * i, "share": share}
            for seed, several in shares.items()
            for i, share in enumerate(several)
        ]
    )
    assert transitions_to(progress, "ioi", 1) == {0: float("inf"), 1: 800.0}
    kept = progress[progress["transitions"] < 800]
    assert transitions_to(kept, "ioi", 1) == {0: 400.0, 1: float("inf")}
    assert reached_untrained(progress, "ioi", 1) and not reached_untrained(progress[progress["seed"] == 0], "ioi", 1)


@given(st.integers(0, 2**32))
def test_scores_over_passes_agree_with_a_plain_loop(seed: int) -> None:
    found = synthetic_found(np.random.default_rng(seed))
    budget = 12
    measured = found.per_pass(budget)
    for s in range(2):
        for e in range(4):
            held = []
            for passes in range(1, budget + 1):
                done = [score for after, score in found.rises[s, e] if after <= passes]
                held.append(max(*done, 0.0) if done else 0.0)
            assert measured[s, e] == pytest.approx(np.mean(held))
            assert found.per_step()[s, e] == pytest.approx(np.mean([max(one, 0.0) for one in found.best[s, e]]))
            last = found.best[s, e, -1]
            first = next(t for t in range(found.steps) if found.best[s, e, t] >= (0.9 * last if last > 0 else last))
            assert found.reach(0.9)[s, e] == first + 1


def test_shares_and_differences_agree_with_a_plain_sum_of_errors() -> None:
    """Of episodes, after the share of each one's own oracle, and of the trainings of each policy."""
    rng = np.random.default_rng(4)
    first, second, chance = (synthetic_found(rng, seeds=3) for _ in range(3))
    second, chance = replace(second, oracle=first.oracle), replace(chance, oracle=first.oracle, learned=False)
    scale = first.oracle.mean()

    def half(values: Floats) -> float:
        return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))

    ends = {name: one.best[:, :, -1] for name, one in (("first", first), ("second", second), ("chance", chance))}
    for other, seeds in (("second", ["first", "second"]), ("chance", ["first"])):
        found = matched.compare(first, {"second": second, "chance": chance}[other], Found.at_end)
        assert found is not None
        gaps = ends["first"].mean(0) - ends[other].mean(0)
        value = gaps.mean() / scale
        parts = [half((gaps - value * first.oracle) / scale), *[half(ends[name].mean(1) / scale) for name in seeds]]
        assert (found.value, found.high - found.value) == pytest.approx((value, hypot(*parts)))
        assert found.value - found.low == pytest.approx(hypot(*parts))
    ours = matched.of_found(first)
    assert ours is not None and ours.value == pytest.approx(ends["first"].mean() / scale) and ours.high <= 1


def test_only_common_episodes_are_compared() -> None:
    rng = np.random.default_rng(5)
    first, second = synthetic_found(rng, (0, 1, 2, 3)), synthetic_found(rng, (2, 3, 4, 5))
    found = matched.compare(first, second, Found.at_end)
    assert found is not None
    expected = (first.best[:, 2:, -1].mean() - second.best[:, :2, -1].mean()) / first.oracle[2:].mean()
    assert found.value == pytest.approx(expected)
    assert matched.compare(first, synthetic_found(rng, (7, 8, 9, 10)), Found.at_end) is None
    assert matched.compare(first, None, Found.at_end) is None


def test_there_is_no_share_of_nothing() -> None:
    found = synthetic_found(np.random.default_rng(6))
    idle = replace(found, oracle=np.full(4, -0.1))
    share, difference = matched.of_found(idle), matched.compare(idle, idle, Found.at_end)
    assert share is not None and difference is not None
    assert not share.known and not difference.known
    assert verdicts.exceeds(share, 0.5, "half").verdict is MAYBE


@given(st.integers(1, 20), st.integers(1, 40), st.integers(0, 10))
def test_the_overlap_has_the_probability_of_drawing_so_many(known: int, heads: int, hits: int) -> None:
    heads = max(heads, known)
    k = min(10, known)
    hits = min(hits, k)
    ranking = [f"known{i}" for i in range(hits)] + [f"other{i}" for i in range(heads - known)]
    ranking += [f"known{i}" for i in range(hits, known)]
    found = overlap(ranking, {f"known{i}" for i in range(known)}, heads)
    n = len(found.hits)
    p = sum(comb(known, i) * comb(heads - known, k - i) for i in range(n, k + 1)) / comb(heads, k)
    assert (found.k, found.known, n >= hits) == (k, known, True)
    assert found.p == pytest.approx(p) and found.expected == pytest.approx(k * known / heads)


def test_the_papers_own_numbers_agree_with_each_other() -> None:
    (found, known), (others, all_others) = authors.classes()
    assert (found, known, others, all_others) == (1, 13, 5, 13)
    published = authors.overlap("ioi", "k1")
    assert published is not None and published.startswith(f"{found + others} of 10 (chance 1.8")
    for k in (1, 5):
        for code in ("none", "induction", "ioi"):
            share, printed = authors.matched(k, code), authors.printed(k, code)
            assert share is not None and printed is not None and share < printed + 0.02
    assert authors.matched(5, "docstring") is None
    steps, curves = authors.curves()
    assert steps[-1] == 50 and curves["random"][-1] == pytest.approx(authors.random_share(), abs=0.005)
    assert authors.learning("docstring") == {} and authors.learning("ioi")[5].iloc[0] == 1


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Interval(0.0, -0.01, 0.02), YES),
        (Interval(0.05, 0.03, 0.07), NO),
        (Interval(-0.05, -0.07, -0.03), NO),
        (Interval(0.01, -0.01, 0.03), MAYBE),
        (Interval(0.01, float("nan"), 0.03), MAYBE),
        (None, MAYBE),
    ],
)
def test_what_is_negligible(difference: Interval | None, verdict: Verdict) -> None:
    assert verdicts.negligible(difference, 0.02).verdict is verdict
