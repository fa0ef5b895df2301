"""The parts of the TD error: what was received, what was held to follow, what had been held to come."""

from __future__ import annotations

import numpy as np

from envs.agents.q_learning import QLearningConfig, windowed_update
from envs.agents.transitions import FloatArray, Transitions

PARTS = ("reward", "next_value", "last_value")
"""r, γ max Q(s′, ·) and Q(s, a): the error is the first and the second less the third."""
SIGNS = (1.0, 1.0, -1.0)


def td_parts(t: Transitions, n_actions: int, config: QLearningConfig) -> FloatArray:
    """Means of the parts over the replayed window before each decision, [N, 3]; 0 before the first.

    With ``SIGNS`` they add up to the TD signal of :func:`envs.agents.q_learning.learn`.
    """
    table = np.zeros((t.n_states, n_actions))
    parts = np.zeros((len(t), len(PARTS)))
    for n in range(len(t) - 1):
        w = slice(config.first(n), n + 1)
        state, action, done = t.state[w], t.action[w], t.done[w]
        ahead = np.where(done, 0.0, table.max(axis=1)[np.where(done, 0, t.next_state[w])])
        parts[n + 1] = t.reward[w].mean(), config.gamma * ahead.mean(), table[state, action].mean()
        windowed_update(table, state, action, t.reward[w], t.next_state[w], done, config)
    return parts
