"""Searches: what is counted, what they find, and that each baseline chooses as it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from envs.head_ablation import TableScores
from jobs.circuits.baselines import BASELINES, attribution, baselines, layer_prior, mean_ablation, training_mean
from jobs.circuits.baselines.at_random import AtRandom
from jobs.circuits.baselines.fixed_order import FixedOrder
from jobs.circuits.baselines.known import Known
from jobs.circuits.baselines.layer_prior import LayerPrior
from jobs.circuits.baselines.ucb import BlockBandit
from jobs.circuits.searchers import Asked, Proposal, Seen, Tally, search

BLOCKS, HEADS = 3, 4
H = BLOCKS * HEADS
Scores = NDArray[np.float64]


def tables(scores: Scores) -> list[TableScores]:
    return [TableScores(row, np.zeros(H), 1.0, BLOCKS, HEADS) for row in scores]


def known(seed: int, n: int) -> Known:
    rng = np.random.default_rng(seed)
    training = {"induction": rng.normal(size=(5, H)), "ioi": rng.normal(size=(3, H))}
    oracle, first_order, means = rng.normal(size=(3, n, H))
    return Known(BLOCKS, HEADS, training, oracle, attribution=first_order, mean_ablation=means)


class AskFor:
    """Asks for given heads, whatever it has seen."""

    overhead = 7

    def __init__(self, *steps: Sequence[int]) -> None:
        self.steps = steps

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        heads = self.steps[int(seen.tried[0].sum())]
        return Proposal(np.tile(np.array(heads, dtype=np.int64), (len(seen.tried), 1)))


def test_the_best_asked_for_is_tried_and_nothing_is_paid_twice() -> None:
    scores = np.array([[0.0, 3, 1, 2, 5, 0, 0, 0, 0, 0, 0, 0]])
    (found,) = search(AskFor([0, 1, 2], [2, 3], [2, 4, 0]), tables(scores), 3, [0])
    assert found.heads.tolist() == [1, 3, 4]
    assert found.scores.tolist() == [3, 2, 5] and found.best_scores.tolist() == [3, 3, 5]
    # 7 beforehand, 2 for the baselines, 2 a head: three heads, then one new, then another
    assert found.passes.tolist() == [15, 17, 19]
    assert (found.best_score, found.best_head, found.forward_passes) == (5, 4, 19)
    assert found.probabilities is None


def test_of_equal_scores_the_first_is_tried_and_remembered() -> None:
    (found,) = search(AskFor([5, 2], [2]), tables(np.ones((1, H))), 2, [0])
    assert found.heads.tolist() == [5, 2] and found.best_head == 5


def test_what_cannot_be_searched_is_refused() -> None:
    three = tables(np.zeros((3, H)))
    with pytest.raises(ValueError, match="a seed for each episode"):
        search(AtRandom(), three, 2, [1, 2])
    with pytest.raises(ValueError, match="a seed for each episode"):
        search(AtRandom(), [], 2, [])
    for steps in (0, H + 1):
        with pytest.raises(ValueError, match="steps must be from 1 to 12"):
            search(AtRandom(), three, steps, [1, 2, 3])
    with pytest.raises(ValueError, match="of one model"):
        search(AtRandom(), [*three, TableScores(np.zeros(H), np.zeros(H), 1.0, HEADS, BLOCKS)], 2, [1, 2, 3, 4])
    with pytest.raises(ValueError, match="tried before"):
        search(AskFor([0], [1, 0]), three, 2, [1, 2, 3])


def test_scores_are_asked_of_the_model_once() -> None:
    class Model:
        n_blocks, n_heads = BLOCKS, HEADS

        def __init__(self) -> None:
            self.questions: list[list[int]] = []

        def score(self, heads: Sequence[int]) -> Scores:
            self.questions.append(list(heads))
            return np.array(heads, dtype=np.float64) / 10

    model, tally = Model(), Tally()
    asked = Asked(model, tally)
    assert tally.forward_passes == 0
    np.testing.assert_array_equal(asked.score([4, 2, 4]), [0.4, 0.2, 0.4])
    np.testing.assert_array_equal(asked.score([2, 1]), [0.2, 0.1])
    np.testing.assert_array_equal(asked.score([1, 4]), [0.1, 0.4])
    assert model.questions == [[4, 2], [1]] and tally.forward_passes == 2 + 2 * 3


@given(
    name=st.sampled_from(sorted(BASELINES)),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 4),
    steps=st.integers(1, H),
    code=st.sampled_from([None, "induction", "ioi"]),
)
def test_every_baseline_searches_as_a_search_must(name: str, seed: int, n: int, steps: int, code: str | None) -> None:
    material = replace(known(seed, n), task_code=code)
    searcher, episodes = baselines(material)[name], tables(material.oracle)
    seeds = [(seed, i) for i in range(n)]
    found = search(searcher, episodes, steps, seeds)
    for one, episode in zip(found, episodes, strict=True):
        assert len(set(one.heads.tolist())) == steps  # distinct
        np.testing.assert_array_equal(one.scores, episode.scores[one.heads])
        assert (np.diff(one.passes) > 0).all() and (np.diff(one.best_scores) >= 0).all()
        assert one.passes[0] == searcher.overhead + 4 and one.forward_passes == searcher.overhead + 2 + 2 * steps
        assert one.best_score == episode.scores[one.best_head] <= episode.oracle
        rose = [t for t in range(steps) if t == 0 or one.best_scores[t] > one.best_scores[t - 1]]
        assert one.rises == tuple((int(one.passes[t]), float(one.best_scores[t])) for t in rose)  # one head a step
        if steps == H:
            assert one.best_score == episode.oracle
        if name == "oracle":
            assert one.heads[0] == episode.best
    again = (
        search(searcher, episodes[::-1], steps, seeds[::-1])[::-1]
        if name in ("random", "layer_prior", "ucb")
        else found
    )
    for one, other in zip(found, again, strict=True):  # whatever else is searched beside it
        np.testing.assert_array_equal(one.heads, other.heads)


def test_random_heads_are_equally_likely() -> None:
    found = search(AtRandom(), tables(np.zeros((4000, H))), 2, range(4000))
    for step in range(2):
        counts = np.bincount([one.heads[step] for one in found], minlength=H)
        assert ((counts - 4000 / H) ** 2 / (4000 / H)).sum() < 31.3  # chi-squared, 11 degrees of freedom: p = 0.001
    assert found[0].probabilities is not None
    np.testing.assert_allclose(found[0].probabilities, [1 / 12, 1 / 11])


def test_blocks_are_drawn_by_their_weights_while_they_have_any() -> None:
    searcher = LayerPrior(np.array([3.0, 0.0, 1.0]))
    found = search(searcher, tables(np.zeros((2000, H))), H, range(2000))
    first = np.bincount([one.heads[0] for one in found], minlength=H) / 2000
    np.testing.assert_allclose(first, np.repeat([3 / 16, 0, 1 / 16], HEADS), atol=0.035)
    for one in found:
        assert set(one.heads[:8]) == {0, 1, 2, 3, 8, 9, 10, 11}  # without weight comes last
    assert found[0].probabilities is not None
    assert found[0].probabilities[0] == (3 / 16 if found[0].heads[0] < HEADS else 1 / 16)
    np.testing.assert_allclose(found[0].probabilities[8:], [1 / 4, 1 / 3, 1 / 2, 1])


def test_a_blocks_weight_is_the_mean_positive_score_and_each_task_counts_the_same() -> None:
    first, second = np.zeros((1, H)), np.zeros((4, H))
    first[0, :4] = [4, -8, 4, 0]
    second[:, 8] = 4
    material = Known(BLOCKS, HEADS, {"induction": first, "ioi": second}, np.zeros((1, H)))
    np.testing.assert_array_equal(layer_prior.make(material).weights, [1, 0, 0.5])
    np.testing.assert_array_equal(layer_prior.make(replace(material, task_code="ioi")).weights, [0, 0, 1])
    np.testing.assert_array_equal(training_mean.make(material).values, [[2, -4, 2, 0, 0, 0, 0, 0, 2, 0, 0, 0]])
    told = training_mean.make(replace(material, task_code="induction"))
    (found,) = search(told, tables(np.zeros((1, H))), H, [0])
    assert found.heads.tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1]  # equal ones by their number


def test_the_bandits_bounds_are_ucb1s() -> None:
    tried, scores = np.zeros(H, dtype=bool), np.zeros(H)
    tried[[0, 1, 4]], scores[[0, 1, 4]] = True, [-1.0, 3.0, 1.0]
    # on the scale from -1 to 3: block 0 has 0 and 1, block 1 has a half; three pulls
    bounds = BlockBandit(BLOCKS).upper_bounds(tried, scores)
    np.testing.assert_allclose(bounds[:2], [0.5 + np.sqrt(np.log(3)), 0.5 + np.sqrt(2 * np.log(3))])
    assert bounds[2] == np.inf
    tried[8:] = True
    assert BlockBandit(BLOCKS).upper_bounds(tried, scores)[2] == -np.inf


def test_the_bandit_tries_each_block_once_and_then_favours_the_best() -> None:
    scores = np.zeros((300, H))
    scores[:, 4:8] = 1
    found = search(BlockBandit(BLOCKS), tables(scores), 7, range(300))
    blocks = np.array([one.heads // HEADS for one in found])
    assert (np.sort(blocks[:, :3], axis=1) == [0, 1, 2]).all()
    assert len(np.unique(blocks[:, 0])) == 3  # in any order
    # by hand, a good block's bounds are 1 + √(2 ln n / pulls), the others' √(2 ln n): good until its heads are gone
    assert (blocks[:, 3:6] == 1).all() and (blocks[:, 6] != 1).all()


def test_a_fixed_order_may_differ_by_episode_or_not() -> None:
    episodes = tables(np.zeros((2, H)))
    same = search(FixedOrder(np.arange(H, dtype=np.float64)[None]), episodes, 3, [0, 0])
    assert [one.heads.tolist() for one in same] == [[11, 10, 9]] * 2
    values = np.stack([np.arange(H), -np.arange(H)]).astype(np.float64)
    other = search(FixedOrder(values), episodes, 3, [0, 0])
    assert [one.heads.tolist() for one in other] == [[11, 10, 9], [0, 1, 2]]
    with pytest.raises(ValueError, match="finite"):
        FixedOrder(np.full((1, H), np.nan))


def test_estimates_cost_what_they_say_and_are_left_out_where_there_are_none() -> None:
    material = known(0, 2)
    assert list(baselines(material)) == list(BASELINES)
    first_order, means = attribution.make(material), mean_ablation.make(material)
    assert first_order is not None and means is not None
    assert (first_order.overhead, means.overhead) == (4, 2 * H + 2)
    np.testing.assert_array_equal(first_order.values, material.attribution)
    np.testing.assert_array_equal(means.values, material.mean_ablation)
    without = baselines(replace(material, attribution=None, mean_ablation=None))
    assert set(BASELINES) - set(without) == {"attribution", "mean_ablation"}


def test_what_baselines_cannot_know_is_refused() -> None:
    material = known(0, 2)
    with pytest.raises(ValueError, match="at least one episode"):
        replace(material, training={})
    with pytest.raises(ValueError, match="at least one episode"):
        replace(material, training={"ioi": np.zeros((0, H))})
    with pytest.raises(ValueError, match="not docstring"):
        replace(material, task_code="docstring")
    with pytest.raises(ValueError, match="12 columns"):
        replace(material, training={"ioi": np.zeros((2, H + 1))})
    with pytest.raises(ValueError, match="12 columns"):
        replace(material, oracle=np.full((2, H), np.inf))
    with pytest.raises(ValueError, match="shape"):
        replace(material, attribution=np.zeros((3, H)))


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 4))
def test_heads_asked_for_in_one_step_are_known_one_after_the_other(seed: int, k: int) -> None:
    """A plain count: two passes a head and two for the baselines, in the order in which heads are asked for."""
    rng = np.random.default_rng(seed)
    episode = TableScores(rng.normal(size=H), np.zeros(H), 1.0, 1, H)
    order = rng.permutation(H)

    class InTurn:
        overhead = 3

        def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
            left = [head for head in order if not seen.tried[0, head]][:k]
            return Proposal(np.array([left], dtype=np.int64))

    (found,) = search(InTurn(), [episode], steps := min(3, H), [0])
    expected, best, known = [], -np.inf, []
    tried: set[int] = set()
    for _ in range(steps):
        left = [int(head) for head in order if head not in tried][:k]
        for head in left:
            if head not in known:
                known.append(head)
                if episode.scores[head] > best:
                    best = float(episode.scores[head])
                    expected.append((3 + 2 + 2 * len(known), best))
        tried.add(max(left, key=lambda head: float(episode.scores[head])))
    assert found.rises == tuple(expected)
