"""One step of learning from a batch of rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.maze_training.config import TrainingConfig
from jobs.maze_training.losses import clipped_share, equalised_entropy, log_policy, move_losses
from jobs.maze_training.policy import Policy
from jobs.maze_training.rollouts import Rollouts


@dataclass(frozen=True)
class Learned:
    """What a step was."""

    loss: float
    """Summed over the moves and divided, the entropy's part included; before the step."""
    gradient: float
    """Norm before it is cut, the mean over the optimiser's steps."""
    equalised_entropy: float = 0.0
    """Mean over the moves, in nats."""
    clipped: float = 0.0
    """Share of the moves whose gradient a clip took away."""


def learn(
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    rollouts: Rollouts,
    advantages: NDArray[np.float64],
    config: TrainingConfig,
    entropy_weight: float,
    rng: np.random.Generator,
) -> Learned:
    """Descend the policy's losses: one pass over the rollouts.

    Args:
        policy: changes.
        optimiser: of the policy's learned weights, its rate set.
        rollouts: played by the policy as it is.
        advantages: of each move [n, turns].
        config: clips, divisor, minibatches.
        entropy_weight: of the equalised entropy in this step.
        rng: divides the rollouts into minibatches.
    """
    n = len(rollouts.rows)
    order = rng.permutation(n) if config.minibatches > 1 else np.arange(n)
    loss, bonus, clipped, norms = 0.0, 0.0, 0.0, []
    for minibatch in np.array_split(order, config.minibatches):
        for part in batches(minibatch, config.batch_size):
            losses, entropies, share = _losses(policy, rollouts, advantages, config, part)
            part_loss = (losses.sum() - entropy_weight * entropies.sum()) / config.loss_divisor
            part_loss.backward()  # type: ignore[no-untyped-call]
            loss += part_loss.item()
            bonus += entropies.detach().double().mean().item() * len(part) / n
            clipped += share.item() * len(part) / n
        norms.append(descend(policy, optimiser, config.max_gradient))
    return Learned(loss, float(np.mean(norms)), bonus, clipped)


def descend(policy: Policy, optimiser: torch.optim.Optimizer, max_gradient: float) -> float:
    """Cut the gradients, take the optimiser's step and clear them; returns their norm before the cut."""
    norm = torch.nn.utils.clip_grad_norm_(policy.learned.values(), max_gradient)
    optimiser.step()
    optimiser.zero_grad()
    return norm.item()


def batches(indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Parts of so many indices at most."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _losses(
    policy: Policy,
    rollouts: Rollouts,
    advantages: NDArray[np.float64],
    config: TrainingConfig,
    part: NDArray[np.int64],
) -> tuple[Tensor, Tensor, Tensor]:
    """Each move's loss and equalised entropy [b, turns], and the share of the moves that a clip holds."""
    device = policy.engine.device
    logits = policy.letter_logits([rollouts.rows[row] for row in part], rollouts.positions[part].tolist())
    offered, seen, actions, old = (
        torch.from_numpy(values[part]).to(device)
        for values in (rollouts.offered, rollouts.seen, rollouts.actions, rollouts.log_probs)
    )
    log_probs = log_policy(logits, offered, config.temperature).gather(-1, actions[..., None])[..., 0]
    worth = torch.from_numpy(advantages[part]).to(log_probs)
    losses = move_losses(log_probs, old, worth, config.clip, config.dual_clip)
    share = clipped_share(log_probs.detach(), old, worth, config.clip, config.dual_clip)
    return losses, equalised_entropy(logits, seen), share
