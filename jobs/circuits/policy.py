"""The network that chooses heads, after Khadka (2026, arXiv 2605.26343), and the search in which it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from envs.head_ablation import SCORE_SCALE
from jobs.circuits.searchers import Proposal, Seen
from tdlens.errors import UserError

HIDDEN = 256


def trunk(n_inputs: int) -> nn.Sequential:
    """What actor and critic share: two layers of 256 units, each with a tanh."""
    return nn.Sequential(nn.Linear(n_inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh())


class HeadPolicy(nn.Module):
    """Observations [n, tasks + 2 H] to preferences among H heads and to the value of what is seen. Always float32.

    With two tasks and the 144 heads of GPT-2 small it has 177,553 parameters, as the source's.
    """

    def __init__(self, n_tasks: int, n_actions: int) -> None:
        """Layers with torch's own initial weights, drawn from its global generator; :meth:`with_weights` draws none.

        Raises:
            ValueError: no head, or fewer than no task.
        """
        super().__init__()
        if n_tasks < 0 or n_actions < 1:
            raise ValueError(f"a policy needs heads to choose from; these are {n_tasks} tasks and {n_actions} heads")
        self.n_tasks, self.n_actions = n_tasks, n_actions
        self.trunk = trunk(n_tasks + 2 * n_actions)
        self.actor = nn.Linear(HIDDEN, n_actions)
        self.critic = nn.Linear(HIDDEN, 1)

    def probabilities(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[np.float64]:
        """How likely each head is to be drawn [n, H]: 0 where it isn't legal [n, H]; errors as those of their log."""
        return np.exp(self.log_probabilities(observations, legal))

    @torch.no_grad()
    def log_probabilities(self, observations: NDArray[np.float32], legal: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Their natural logarithm [n, H]: minus infinity where a head isn't legal [n, H], and only there.

        Raises:
            ValueError: observations of another size, or one without a legal head.
        """
        if observations.shape[1:] != (self.n_tasks + 2 * self.n_actions,):
            raise ValueError(f"observations must have {self.n_tasks + 2 * self.n_actions} numbers each")
        if not legal.any(axis=1).all():
            raise ValueError("there must be a legal head in each observation")
        logits: Tensor = self.actor(self.trunk(torch.from_numpy(observations))).double()
        shares = logits.masked_fill(torch.from_numpy(~legal), -torch.inf).log_softmax(dim=1)
        return np.asarray(shares.numpy(), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """The weights as safetensors."""
        return bytes(save({name: weight.contiguous() for name, weight in self.state_dict().items()}))

    @classmethod
    def with_weights(cls, n_tasks: int, n_actions: int, weights: Mapping[str, Tensor]) -> HeadPolicy:
        """A policy that takes these tensors for its weights, in evaluation mode.

        Raises:
            ValueError: no head, or fewer than no task.
            RuntimeError: a weight is missing, of another shape, or not the policy's.
        """
        with torch.device("meta"):
            policy = cls(n_tasks, n_actions)
        policy.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
        return policy.eval().requires_grad_(False)

    @classmethod
    def from_bytes(cls, weights: bytes) -> HeadPolicy:
        """A policy with the weights of :meth:`to_bytes`, which tell its sizes, in evaluation mode.

        Raises:
            UserError: the bytes are damaged or of something else.
        """
        try:
            tensors = load(weights)
            n_actions, n_inputs = len(tensors["actor.bias"]), tensors["trunk.0.weight"].shape[1]
            if not all(weight.isfinite().all() for weight in tensors.values()):
                raise ValueError("they aren't all finite")
            return cls.with_weights(n_inputs - 2 * n_actions, n_actions, tensors)
        except (SafetensorError, KeyError, IndexError, ValueError, RuntimeError) as error:
            raise UserError(
                f"These aren't the weights of a policy that chooses heads: {error}.", "Train the policy again."
            ) from error


@dataclass(frozen=True, eq=False)
class PolicySearcher:
    """Draws heads from a policy without replacement, as it does in training, and asks for all of them.

    Raises:
        ValueError: a code of another length, or no head to ask for.
    """

    policy: HeadPolicy
    code: tuple[float, ...]
    """Which task the policy is told that it searches: a one-hot over its training tasks, or zeros for none."""
    best_of: int = 1
    """Heads to ask for in each step; fewer where fewer are left. The best of them is tried."""
    overhead: int = 0

    def __post_init__(self) -> None:
        if len(self.code) != self.policy.n_tasks:
            raise ValueError(f"the task code must have {self.policy.n_tasks} numbers, one a training task")
        if self.best_of < 1:
            raise ValueError("best_of must be at least 1")

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        n, n_heads = seen.tried.shape
        codes = np.tile(self.code, (n, 1))
        observations = np.hstack([codes, seen.tried, seen.scores / SCORE_SCALE]).astype(np.float32)
        log_probabilities = self.policy.log_probabilities(observations, ~seen.tried)
        # The k highest of log p plus Gumbel noise are k draws without replacement (Vieira 2014), in this order.
        noise = np.stack([chance.gumbel(size=n_heads) for chance in chances])
        order = np.argsort(-(log_probabilities + noise), axis=1, kind="stable")
        heads = order[:, : min(self.best_of, int((~seen.tried).sum(axis=1).min()))].astype(np.int64)
        return Proposal(heads, np.exp(np.take_along_axis(log_probabilities, heads, axis=1)))
