"""A whole step of learning, against one that is computed move by move."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.maze import Tile
from jobs.maze_training.config import Algorithm, TrainingConfig
from jobs.maze_training.losses import advantages, log_policy, move_losses
from jobs.maze_training.policy import Policy
from jobs.maze_training.rollouts import Rollouts, deal, play
from jobs.maze_training.update import learn
from tests.maze_training.small_players import EASY, WINDY, small_policy

CONFIG = TrainingConfig(algorithm=Algorithm.REINFORCE, maze=WINDY, mazes=2, rollouts=3, steps=1, loss_divisor=64)
ENTROPY = 0.3


def rollouts_of(policy: Policy, config: TrainingConfig = CONFIG) -> Rollouts:
    dealt = deal(config.maze, [(1, maze) for maze in range(config.mazes)], config.rollouts, np.random.default_rng(0))
    return play(policy, config.maze, dealt, config.temperature, config.batch_size)


def adamw(policy: Policy, config: TrainingConfig = CONFIG) -> torch.optim.AdamW:
    return torch.optim.AdamW(policy.learned.values(), lr=config.learning_rate, weight_decay=config.weight_decay)


def step(policy: Policy, rollouts: Rollouts, config: TrainingConfig = CONFIG, seed: int = 0) -> float:
    worth = advantages(rollouts.rewards, config.rollouts, config.algorithm)
    return learn(policy, adamw(policy, config), rollouts, worth, config, ENTROPY, np.random.default_rng(seed)).loss


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.learned.items()}


def test_a_move_by_hand() -> None:
    """Two directions offered, probabilities 1/2, ratio 1: the slope in the chosen logit is -advantage (1 - 1/2) / T."""
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    offered = torch.tensor([[[True, False, True, False]]])
    log_p = log_policy(logits, offered, 0.5)[..., 2]
    loss = move_losses(log_p, torch.full((1, 1), math.log(0.5)), torch.full((1, 1), 3.0), 0.2, 3.0).sum() / 2048
    loss.backward()
    assert loss.item() == pytest.approx(-3 / 2048)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.flatten() * 2048, [3.0, 0, -3.0, 0], rtol=1e-6)


def test_a_reinforce_step_is_the_one_computed_move_by_move() -> None:
    """Every move from its own prefix, without padding; AdamW's first step by its formula."""
    policy, other = small_policy(WINDY), small_policy(WINDY)
    rollouts = rollouts_of(policy)
    loss = torch.zeros(())
    letters = list(policy.dialogue.letters)
    n = CONFIG.mazes * CONFIG.rollouts
    for index in range(n):
        group = range(index // 3 * 3, index // 3 * 3 + 3)
        for turn in range(WINDY.turns):
            prefix = rollouts.rows[index][: rollouts.positions[index, turn] + 1]
            logits = other.model(torch.tensor([prefix])).logits[0, -1, letters]
            options = [direction for direction in range(4) if rollouts.offered[index, turn, direction]]
            chosen = options.index(rollouts.actions[index, turn])
            log_p = (logits[options] / 0.7).log_softmax(0)[chosen]
            following = [rollouts.rewards[one, turn:].sum() for one in group]
            worth = rollouts.rewards[index, turn:].sum() - sum(following) / 3
            loss = loss - worth * (log_p - log_p.detach()).exp() / CONFIG.loss_divisor
            for tile in Tile:
                same = [direction for direction in options if rollouts.seen[index, turn, direction] == tile]
                if len(same) > 1:
                    shares = logits[same].softmax(0)
                    loss = loss + ENTROPY * (shares * shares.log()).sum() / CONFIG.loss_divisor
    loss.backward()
    gradients = {name: weight.grad for name, weight in other.learned.items()}
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients.values()))
    assert norm > 1  # or nothing is cut
    before = weights(policy)
    worth = advantages(rollouts.rewards, 3, Algorithm.REINFORCE)
    learned = learn(policy, adamw(policy), rollouts, worth, CONFIG, ENTROPY, np.random.default_rng(0))
    assert learned.loss == pytest.approx(loss.item(), abs=2e-6)
    assert learned.gradient == pytest.approx(norm, rel=1e-3)
    assert learned.clipped == 0
    for name, weight in policy.learned.items():
        gradient = gradients[name] / (norm + 1e-6)
        expected = before[name] * (1 - 1e-3 * 0.01) - 1e-3 * gradient / (gradient.abs() + 1e-8)
        sure = gradient.abs() > 1e-5 * gradient.abs().max()
        sure |= gradient == 0
        np.testing.assert_allclose(weight.detach()[sure], expected[sure], atol=2e-5)
        assert sure.double().mean() > 0.9


def test_how_many_are_read_at_a_time_doesn_t_matter() -> None:
    policy, other = small_policy(WINDY), small_policy(WINDY)
    rollouts = rollouts_of(policy)
    assert step(policy, rollouts) == pytest.approx(step(other, rollouts, replace(CONFIG, batch_size=1)), abs=1e-6)
    for name, weight in policy.learned.items():
        moved = (weight - other.learned[name]).abs()
        assert moved.double().mean() < 1e-5 and moved.max() < 2.1e-3  # a gradient near zero may turn its sign


def test_minibatches_are_steps_of_parts() -> None:
    policy, other = small_policy(WINDY), small_policy(WINDY)
    rollouts = rollouts_of(policy)
    worth = advantages(rollouts.rewards, 3, Algorithm.DR_GRPO)
    config = replace(CONFIG, algorithm=Algorithm.DR_GRPO, minibatches=2)
    learn(policy, adamw(policy), rollouts, worth, config, 0.0, np.random.default_rng(4))
    optimiser = adamw(other)
    order = np.random.default_rng(4).permutation(6)
    for part in (order[:3], order[3:]):
        some = replace(
            rollouts,
            rows=[rollouts.rows[row] for row in part],
            **{
                name: getattr(rollouts, name)[part]
                for name in ("positions", "actions", "offered", "seen", "log_probs", "entropies", "rewards")
            },
        )
        learn(other, optimiser, some, worth[part], replace(config, minibatches=1), 0.0, np.random.default_rng(0))
    for name, weight in policy.learned.items():
        assert torch.equal(weight, other.learned[name])


@pytest.mark.parametrize("algorithm", [Algorithm.DR_GRPO, Algorithm.REINFORCE])
def test_the_return_rises_in_an_easy_maze(algorithm: Algorithm) -> None:
    """The same maze over and over; the best return is 2 Gold, 39.8, and the first policy hardly has any."""
    config = TrainingConfig(algorithm=algorithm, maze=replace(EASY, turns=2), mazes=1, rollouts=32, steps=12)
    policy, rng = small_policy(config.maze), np.random.default_rng(2)
    optimiser = torch.optim.AdamW(policy.learned.values(), lr=1e-2)
    returns = []
    for _ in range(config.steps):
        dealt = deal(config.maze, [(0, 0, 1, 0)], config.rollouts, rng)
        rollouts = play(policy, config.maze, dealt, config.temperature, config.batch_size)
        returns.append(rollouts.rewards.sum(1).mean())
        worth = advantages(rollouts.rewards, config.rollouts, algorithm)
        learn(policy, optimiser, rollouts, worth, config, 0.0, rng)
    assert returns[0] < 10 and np.mean(returns[-3:]) > 35
