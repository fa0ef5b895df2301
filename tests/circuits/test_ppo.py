"""Training a policy that chooses heads: the library's own at K = 1, the best of K draws otherwise, and it learns."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from envs.head_ablation import HeadAblation, HeadScores, TableScores
from jobs.circuits.baselines.at_random import AtRandom
from jobs.circuits.policy import HeadPolicy, PolicySearcher
from jobs.circuits.ppo import BestOf, Episodes, Point, Trained, Trunk, policy_of, train_policy
from jobs.circuits.search_config import SearchConfig
from jobs.circuits.searchers import Proposal, Seen, search
from tdlens.errors import UserError

BLOCKS, HEADS, STEPS, TASKS = 3, 4, 5, ("induction", "ioi")
H = BLOCKS * HEADS
TINY = SearchConfig(transitions=200)


def deal(task: str, seed: int) -> TableScores:
    """A task's best head is the same in all episodes; noise comes on top."""
    scores = np.random.default_rng(seed).normal(0, 0.2, H)
    scores[{"induction": 6, "ioi": 9}[task]] += 2
    return TableScores(scores, np.zeros(H), 1.0, BLOCKS, HEADS)


def trained(config: SearchConfig, **more: object) -> Trained:
    return train_policy(config, deal, BLOCKS, HEADS, STEPS, TASKS, **more)  # type: ignore[arg-type]


def evaluation(n: int = 8) -> dict[str, list[HeadScores]]:
    return {task: [deal(task, 10_000_000 + i) for i in range(n)] for task in TASKS}


def drawing(
    logits: NDArray[np.float64], best_of: int, ask: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> BestOf:
    """A policy that prefers heads by fixed logits, whatever it sees."""
    env = HeadAblation(deal, BLOCKS, HEADS, STEPS, TASKS)
    policy = BestOf(
        env.observation_space,
        env.action_space,
        lambda left: 1e-3,
        net_arch=[],
        features_extractor_class=Trunk,
        best_of=best_of,
        ask=ask,
    )
    assert isinstance(policy.action_net, torch.nn.Linear)
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.copy_(torch.from_numpy(logits))
    return policy


def test_without_choosing_among_draws_it_is_the_librarys_own_to_the_bit() -> None:
    ours = trained(replace(TINY, episodes=4, seed=3)).policy
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        episodes = Episodes([HeadAblation(deal, BLOCKS, HEADS, STEPS, TASKS) for _ in range(4)])
        theirs = MaskablePPO(
            MaskableActorCriticPolicy,
            episodes,
            learning_rate=lambda left: 2.5e-4 * max(0.2, left + STEPS * 4 / 200),
            n_steps=STEPS,
            batch_size=3,
            n_epochs=4,
            gamma=0.99,
            gae_lambda=0.95,
            clip_range=0.2,
            ent_coef=0.1,
            vf_coef=0.25,
            max_grad_norm=0.5,
            policy_kwargs={
                "net_arch": [],
                "features_extractor_class": Trunk,
                "optimizer_kwargs": {"eps": 1e-5, "fused": True},
            },
            seed=3,
            device="cpu",
        )
        episodes.seed(301)
        theirs.learn(200)
    torch.set_num_threads(threads)
    assert policy_of(theirs, 2).to_bytes() == ours.to_bytes()


def test_the_seed_decides_the_weights_to_the_bit() -> None:
    for best_of in (1, 3):
        config = replace(TINY, best_of=best_of, transitions=80)
        first = trained(config).policy.to_bytes()
        np.random.seed(5)  # noqa: NPY002 - whatever has been drawn before
        torch.manual_seed(5)
        assert trained(config).policy.to_bytes() == first
        assert trained(replace(config, seed=2)).policy.to_bytes() != first


def test_looking_at_the_progress_changes_nothing() -> None:
    seen: list[Point] = []
    looked_at = trained(TINY, evaluation=evaluation(), on_progress=seen.append, reports=1)
    assert looked_at.policy.to_bytes() == trained(TINY).policy.to_bytes()
    assert [point.transitions for point in seen] == [0, 40, 80, 160, 200]  # after 0, 1, 2 and 4 updates, and at the end
    assert looked_at.curve == tuple(seen)
    assert looked_at.transitions == 200 and looked_at.forward_passes == seen[-1].forward_passes


def test_global_generators_and_threads_are_put_back() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    def seed() -> None:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)

    seed()
    before = drawn()
    seed()
    threads = torch.get_num_threads()
    trained(replace(TINY, transitions=80))
    assert drawn() == before and torch.get_num_threads() == threads


def test_forward_passes_are_two_for_the_baselines_and_two_for_each_head_asked_for() -> None:
    assert trained(TINY).forward_passes == 200 // STEPS * (2 + 2 * STEPS)
    best_of_all = trained(replace(TINY, best_of=H))
    assert best_of_all.forward_passes == 200 // STEPS * (2 + 2 * H)  # every head is asked for in the first step


def test_episodes_come_from_the_pool() -> None:
    met: set[tuple[str, int]] = set()

    def noted(task: str, seed: int) -> TableScores:
        met.add((task, seed))
        return deal(task, seed)

    pool = {"induction": [1, 2], "ioi": [7]}
    train_policy(TINY, noted, BLOCKS, HEADS, STEPS, TASKS, pool)
    assert met == {("induction", 1), ("induction", 2), ("ioi", 7)}


def test_seeds_of_the_episodes_are_the_published_ones() -> None:
    first: list[tuple[str, int]] = []

    def noted(task: str, seed: int) -> TableScores:
        first.append((task, seed))
        return deal(task, seed)

    train_policy(SearchConfig(transitions=40), noted, BLOCKS, HEADS, STEPS, TASKS)
    expected = []
    for i in range(8):
        info = HeadAblation(deal, BLOCKS, HEADS, STEPS, TASKS).reset(seed=101 + i)[1]
        expected.append((info["task"], info["episode"]))
    assert first[:8] == expected


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 40"):
        trained(replace(TINY, transitions=39))
    with pytest.raises(ValueError, match="two transitions"):
        train_policy(SearchConfig(episodes=1), deal, BLOCKS, HEADS, 1, TASKS)
    for wrong in ({"best_of": 0}, {"gamma": 1.1}, {"learning_rate": -1.0}, {"max_gradient": 0.0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(TINY, **wrong)  # type: ignore[arg-type]


def test_minibatches_of_one_transition_are_never_made() -> None:
    # 3 episodes of 3 steps in batches of 2 would leave one, whose advantage has no spread to be divided by
    odd = replace(TINY, episodes=3, minibatches=5, transitions=90)
    policy = train_policy(odd, deal, BLOCKS, HEADS, 3, TASKS).policy
    assert all(weight.isfinite().all() for weight in policy.state_dict().values())


def test_the_best_of_k_distinct_heads_is_taken_with_the_policys_own_log_probability() -> None:
    rng = np.random.default_rng(0)
    logits, scores, asked = rng.normal(size=H), rng.normal(size=(64, H)), []

    def ask(heads: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.append(heads)
        return np.take_along_axis(scores, heads, axis=1)

    legal = rng.random((64, H)) < 0.6
    legal[:, :4] = True
    policy = drawing(logits, 4, ask)
    heads, values, log_probabilities = policy(torch.zeros(64, 2 + 2 * H), action_masks=legal)
    (drawn,) = asked
    assert drawn.shape == (64, 4) and values.shape == (64, 1)
    shares = np.where(legal, np.exp(logits), 0)
    for i, (row, head) in enumerate(zip(drawn, heads.numpy(), strict=True)):
        assert len(set(row.tolist())) == 4 and legal[i, row].all()
        assert head == row[scores[i, row].argmax()]
        assert log_probabilities[i].item() == pytest.approx(np.log(shares[i, head] / shares[i].sum()), abs=1e-5)


def test_heads_are_drawn_without_replacement_in_training_as_in_a_search() -> None:
    """Ordered pairs against p(a) · p(b) / (1 - p(a))."""
    n, logits = 40_000, np.log(np.array([0.5, 0.25, 0.15, 0.1] + [1.0] * (H - 4)))
    legal = np.tile(np.arange(H) < 4, (n, 1))
    drawn: list[NDArray[np.int64]] = []

    def ask(heads: NDArray[np.int64]) -> NDArray[np.float64]:
        drawn.append(heads)
        return np.zeros(heads.shape)

    torch.manual_seed(0)
    policy = drawing(logits, 2, ask)
    policy(torch.zeros(n, 2 + 2 * H), action_masks=legal)
    ours = HeadPolicy(2, H)
    with torch.no_grad():
        ours.actor.weight.zero_()
        ours.actor.bias.copy_(torch.from_numpy(logits))
    chances = [np.random.default_rng(i) for i in range(n)]
    drawn.append(PolicySearcher(ours, (0.0, 0.0), 2).propose(Seen(~legal, np.zeros((n, H))), chances).heads)
    p = np.exp(logits[:4])
    for pairs in drawn:
        for a, b in permutations(range(4), 2):
            expected = p[a] * p[b] / (1 - p[a])
            share = ((pairs == [a, b]).all(axis=1)).mean()
            assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_fewer_are_drawn_where_fewer_are_left_and_never_an_illegal_one_is_taken() -> None:
    legal = np.tile(np.arange(H) < 2, (16, 1))
    best_last = drawing(np.zeros(H), 5, lambda heads: heads.astype(np.float64))
    heads, _, _ = best_last(torch.zeros(16, 2 + 2 * H), action_masks=legal)
    assert (heads == 1).all()
    # the second head is so unlikely that float32 makes its probability 0, as that of illegal ones
    unlikely = drawing(np.array([0.0, -500.0] + [0.0] * (H - 2)), 2, lambda heads: heads.astype(np.float64))
    for _ in range(20):
        heads, _, _ = unlikely(torch.zeros(16, 2 + 2 * H), action_masks=legal)
        assert (heads <= 1).all()


def test_an_episodes_end_is_an_end() -> None:
    episodes = Episodes([HeadAblation(deal, BLOCKS, HEADS, 1, TASKS)])
    episodes.reset()
    _, _, over, infos = episodes.step(np.array([0]))
    assert over[0] and not infos[0]["TimeLimit.truncated"] and "episode" not in infos[0]


def test_the_published_network_has_as_many_parameters() -> None:
    assert sum(weight.numel() for weight in HeadPolicy(2, 144).parameters()) == 177_553
    policy = trained(replace(TINY, learning_rate=0.0)).policy  # as at first
    for layer, gain in ((policy.trunk[2], 2**0.5), (policy.actor, 0.01), (policy.critic, 1.0)):
        assert isinstance(layer, torch.nn.Linear) and not layer.bias.any()
        gram = layer.weight @ layer.weight.T
        np.testing.assert_allclose(gram.numpy(), gain**2 * np.eye(len(gram)), atol=1e-5)
    first = policy.trunk[0]
    assert isinstance(first, torch.nn.Linear)  # fewer inputs than units: orthogonal columns
    np.testing.assert_allclose((first.weight.T @ first.weight).numpy(), 2 * np.eye(2 + 2 * H), atol=1e-5)


def test_weights_go_to_bytes_and_back() -> None:
    policy = trained(TINY).policy
    again = HeadPolicy.from_bytes(policy.to_bytes())
    assert (again.n_tasks, again.n_actions) == (2, H)
    observations = np.random.default_rng(0).normal(size=(3, 2 + 2 * H)).astype(np.float32)
    legal = np.ones((3, H), dtype=bool)
    legal[0, 3:] = False
    shares = policy.probabilities(observations, legal)
    np.testing.assert_array_equal(again.probabilities(observations, legal), shares)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares[0, 3:] == 0).all() and (shares[legal] > 0).all()
    policy.critic.bias[0] = torch.nan
    for damaged in (b"", again.to_bytes()[:-4], b"x" * 500, policy.to_bytes()):
        with pytest.raises(UserError, match="aren't the weights of a policy"):
            HeadPolicy.from_bytes(damaged)
    with pytest.raises(ValueError, match="legal head"):
        policy.probabilities(observations, np.zeros((3, H), dtype=bool))
    with pytest.raises(ValueError, match="26 numbers"):
        policy.probabilities(observations[:, 1:], legal)


def test_a_policy_sees_in_a_search_what_it_sees_in_the_environment() -> None:
    class Recorded(HeadPolicy):
        def log_probabilities(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[np.float64]:
            seen.append((observations, legal))
            return super().log_probabilities(observations, legal)

    seen: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    for code in ((0.0, 1.0), (0.0, 0.0)):
        seen.clear()
        (found,) = search(PolicySearcher(Recorded(2, H), code), [deal("ioi", 4)], STEPS, [0])
        env = HeadAblation(deal, BLOCKS, HEADS, STEPS, TASKS)
        observation, _ = env.reset(options={"task": "ioi", "episode": 4, "code": code})
        for step, head in enumerate(found.heads):
            np.testing.assert_array_equal(seen[step][0], observation[None])
            np.testing.assert_array_equal(seen[step][1], env.action_masks()[None])
            observation, reward, *_ = env.step(head)
            assert reward == found.scores[step]


def test_a_policys_search_depends_on_its_episode_alone_and_asks_for_k_heads() -> None:
    policy = trained(TINY).policy
    episodes = [deal("ioi", i) for i in range(6)]
    seeds = [(1, i) for i in range(6)]
    together = search(PolicySearcher(policy, (0.0, 0.0), 3), episodes, STEPS, seeds)
    alone = [
        search(PolicySearcher(policy, (0.0, 0.0), 3), [e], STEPS, [s])[0] for e, s in zip(episodes, seeds, strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.heads, other.heads)
        assert one.passes[0] == 2 + 3 * 2 and one.passes[-1] <= 2 + 2 * min(H, 3 * STEPS)
        assert one.probabilities is not None and ((one.probabilities > 0) & (one.probabilities < 1)).all()
    with pytest.raises(ValueError, match="2 numbers"):
        PolicySearcher(policy, (0.0,))
    with pytest.raises(ValueError, match="best_of"):
        PolicySearcher(policy, (0.0, 0.0), 0)


def test_the_best_tried_is_the_best_asked_for() -> None:
    asked: list[tuple[int, int]] = []

    class Noted(PolicySearcher):
        def propose(self, seen: Seen, chances: object) -> Proposal:
            proposal = super().propose(seen, chances)  # type: ignore[arg-type]
            asked.extend((i, int(head)) for i, row in enumerate(proposal.heads) for head in row)
            return proposal

    episodes = [deal("induction", i) for i in range(20)]
    found = search(Noted(HeadPolicy(2, H), (0.0, 0.0), 3), episodes, 2, range(20))
    for i, (one, episode) in enumerate(zip(found, episodes, strict=True)):
        assert one.best_score == max(episode.scores[head] for other, head in asked if other == i)


@pytest.mark.parametrize("best_of", [1, 3])
def test_a_few_thousand_transitions_beat_chance(best_of: int) -> None:
    """The best head is the same in all of a task's episodes: chance has it after two steps in one episode of six."""
    config = SearchConfig(transitions=4_000, best_of=best_of, minibatches=2, learning_rate=2e-3, entropy=0.01)
    result = trained(config, evaluation=evaluation(), reports=2)
    for i, task in enumerate(TASKS):
        episodes = [deal(task, 20_000_000 + j) for j in range(40)]
        code = (float(i == 0), float(i == 1))
        found = search(PolicySearcher(result.policy, code), episodes, 2, range(40))
        chance = search(AtRandom(), episodes, 2, range(40))
        assert np.mean([one.best_score for one in found]) > np.mean([one.best_score for one in chance]) + 0.5
        assert result.curve[-1].best_scores[task] > result.curve[0].best_scores[task]
