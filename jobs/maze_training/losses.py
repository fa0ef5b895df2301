"""Advantages of moves, and the losses that a policy gradient descends.

These and the loop around them are our own: trl's GRPO takes rollouts of several turns, but its loss is of a token's
probability among the whole vocabulary and not among the directions that are offered, its dual clip isn't this one, and
it knows no entropy within groups of tokens, so that of its trainer little more than data loading would remain.

The source is Han, Chalmers & Izmailov (2026, arXiv 2605.30232), and its released code where the paper leaves something
open: the groups' entropies are added, and they are those of the logits without temperature. The code's loss, too, is of
probabilities among the whole vocabulary, at temperature 1, though it samples among the offered directions at 0.7; here
it is of the probabilities that were sampled from.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.maze import Tile
from jobs.maze_training.config import Algorithm, Shuffled


def shuffled_rewards(
    rewards: NDArray[np.float64], rollouts: int, among: Shuffled, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Whole rollouts' rewards, exchanged at random among rollouts.

    Args:
        rewards: of each turn [mazes * rollouts, turns], the rollouts of a maze side by side.
        rollouts: of each maze.
        among: which exchange theirs.
        rng: draws.
    """
    match among:
        case Shuffled.NO:
            return rewards
        case Shuffled.BATCH:
            order = rng.permutation(len(rewards))
        case Shuffled.GROUP:
            order = rng.permuted(np.arange(len(rewards)).reshape(-1, rollouts), axis=1).reshape(-1)
    exchanged: NDArray[np.float64] = rewards[order]
    return exchanged


def advantages(rewards: NDArray[np.float64], rollouts: int, algorithm: Algorithm) -> NDArray[np.float64]:
    """How much better each move did than the other rollouts of its maze [mazes * rollouts, turns].

    Dr. GRPO: the rollout's return less the group's mean, not divided by its standard deviation, for all of its moves.
    REINFORCE: the undiscounted sum of the rewards from the move on, less the group's mean at the same turn.

    Args:
        rewards: of each turn [mazes * rollouts, turns], the rollouts of a maze side by side.
        rollouts: of each maze.
        algorithm: not SFT, which has none.
    """
    if algorithm is Algorithm.REINFORCE:
        following = rewards[:, ::-1].cumsum(1)[:, ::-1]
    elif algorithm is Algorithm.DR_GRPO:
        following = np.broadcast_to(rewards.sum(1, keepdims=True), rewards.shape)
    else:
        raise ValueError("SFT has no advantages")
    groups = following.reshape(-1, rollouts, rewards.shape[1])
    better: NDArray[np.float64] = groups - groups.mean(1, keepdims=True)
    return better.reshape(rewards.shape)


def log_policy(logits: Tensor, offered: Tensor, temperature: float) -> Tensor:
    """Log-probabilities among the offered directions [..., 4]; minus infinity for the others.

    Args:
        logits: of the directions' tokens [..., 4].
        offered: which there are to choose from, at least one [..., 4].
        temperature: of the policy.
    """
    return (logits / temperature).masked_fill(~offered, -torch.inf).log_softmax(-1)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Of distributions given by their logarithms, in nats [...]; what has no probability has no gradient.

    Args:
        log_probabilities: [..., n].
    """
    possible = log_probabilities.isfinite()
    finite = log_probabilities.masked_fill(~possible, 0.0)
    return -(finite.exp() * finite * possible).sum(-1)


def equalised_entropy(logits: Tensor, seen: Tensor) -> Tensor:
    """Entropy, in nats, among directions that look the same, added over the kinds of tile [...].

    It rewards playing alike what looks alike, and leaves alone how much is put on each kind of tile. A kind that lies
    in less than two directions adds nothing.

    Args:
        logits: of the directions' tokens [..., 4].
        seen: the :class:`~envs.maze.Tile` in each direction, or :data:`~envs.maze.NOWHERE` [..., 4].
    """
    total = torch.zeros(logits.shape[:-1], dtype=logits.dtype, device=logits.device)
    for tile in Tile:
        group = seen == tile
        several = group.sum(-1) > 1
        # where the group is too small all directions stand in for it, so that no softmax is empty
        within = log_policy(logits, group | ~several[..., None], 1.0)
        total = total + entropy(within) * several
    return total


def move_losses(log_probs: Tensor, old: Tensor, advantages: Tensor, clip: float, dual_clip: float) -> Tensor:
    """Each move's loss: PPO's, with the ratio clipped, and clipped once more where the advantage is negative.

    Ye et al. (2020, arXiv 1912.09729): without the dual clip a move that did badly and has become much more probable
    would count without bound.

    Args:
        log_probs: of the moves, by the policy as it is.
        old: by the policy that chose them; same shape.
        advantages: of the moves; same shape.
        clip: ratios count from 1 - clip to 1 + clip.
        dual_clip: the largest ratio that counts for a negative advantage.
    """
    ratio = (log_probs - old).exp()
    losses = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    return torch.where(advantages < 0, torch.minimum(losses, -advantages * dual_clip), losses)


def clipped_share(log_probs: Tensor, old: Tensor, advantages: Tensor, clip: float, dual_clip: float) -> Tensor:
    """Share of the moves whose loss has no gradient, because a clip holds; arguments as of :func:`move_losses`."""
    ratio = (log_probs - old).exp()
    good, bad = advantages > 0, advantages < 0
    return ((good & (ratio > 1 + clip)) | (bad & ((ratio < 1 - clip) | (ratio > dual_clip)))).double().mean()
