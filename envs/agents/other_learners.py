"""Q-learners beside the study's: the one that made the moves, and one fitted to what a model foretells.

Whose TD errors latents follow is a question of its own: other learning rates and discounts give other errors on the
same experience.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.agents.agent import SignalInfo
from envs.agents.behaviour import Beta, fit_beta, nll
from envs.agents.q_learning import QLearningConfig, chosen, learn, windowed_update
from envs.agents.transitions import FloatArray, Transitions

GENERATOR, FITTED = "generator", "fitted_learner"
PREFIXES = {GENERATOR: "generator", FITTED: "fitted"}
"""What the signals of each begin with."""
ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
GAMMAS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
"""What is tried when a learner is fitted."""
AFTER = ("action", "reward", "next_state", "done")
WHOLE_HISTORY = QLearningConfig(window=None)


@dataclass(frozen=True)
class OtherLearner:
    """A Q-learner whose signals have a prefix of their own."""

    name: str
    """Key in the registry, and what is known of its parameters."""
    prefix: str
    """Of its signals' names."""
    actions: tuple[str, ...] = ("left", "right")
    """Names of the actions, in the task's order."""
    config: QLearningConfig = WHOLE_HISTORY
    """Learning rate, discount and window."""
    own_rewards: bool = False
    """It received 1 where an episode is over and -1 elsewhere, as the Grid World's agents do, whatever is told."""

    def describe(self) -> dict[str, SignalInfo]:
        parameters = self.config.parameters()
        texts = {
            "error": "TD error averaged over what it replays",
            "last_error": "TD error of the last transition alone",
            "q_max": "Highest Q-value",
            "q_chosen": "Q-value of the action taken",
        }
        return {f"{self.prefix}_{name}": SignalInfo(f"{self.name}: {text}", parameters) for name, text in texts.items()}

    def replay(self, t: Transitions) -> dict[str, FloatArray]:
        if self.own_rewards:
            t = replace(t, reward=np.where(t.done, 1.0, -1.0))
        error, values = learn(t, len(self.actions), self.config)
        found = {
            "error": error,
            "last_error": last_errors(t, len(self.actions), self.config),
            "q_max": values.max(axis=1),
            "q_chosen": chosen(values, t.action),
        }
        return {f"{self.prefix}_{name}": signal for name, signal in found.items()}


def other_learners(actions: Sequence[str]) -> dict[str, OtherLearner]:
    """Both, by name, before it is known which learning rates and discounts they have."""
    return {name: OtherLearner(name, prefix, tuple(actions)) for name, prefix in PREFIXES.items()}


def last_errors(t: Transitions, n_actions: int, config: QLearningConfig) -> FloatArray:
    """Error of the last transition before each decision against the table before it was learned from, [N]."""
    table = np.zeros((t.n_states, n_actions))
    errors = np.zeros(len(t))
    for n in range(len(t) - 1):
        ahead = 0.0 if t.done[n] else table[t.next_state[n]].max()
        errors[n + 1] = t.reward[n] + config.gamma * ahead - table[t.state[n], t.action[n]]
        w = slice(config.first(n), n + 1)
        windowed_update(table, t.state[w], t.action[w], t.reward[w], t.next_state[w], t.done[w], config)
    return errors


@dataclass(frozen=True)
class Fit:
    """The learner whose softmax comes closest to some predictions."""

    config: QLearningConfig
    beta: Beta
    """Its inverse temperature."""
    nll: float
    """Cross-entropy of the predictions under it, in nats a decision."""


def fit_learner(rollouts: Sequence[Transitions], probabilities: FloatArray, window: int | None) -> Fit:
    """The learning rate and discount of ``ALPHAS`` and ``GAMMAS`` under which predictions are likeliest.

    The inverse temperature is fitted for each; all rollouts have one learner's parameters, and each its own history.

    Args:
        rollouts: R histories of T decisions.
        probabilities: what a model gave each action before each decision, [R, T, n_actions].
        window: transitions that are replayed after every step; None for all.
    """
    wanted = probabilities.reshape(-1, probabilities.shape[-1])
    fits = []
    for alpha, gamma in product(ALPHAS, GAMMAS):
        config = QLearningConfig(alpha, gamma, window)
        values = values_of(rollouts, probabilities.shape[-1], config).reshape(wanted.shape)
        beta = fit_beta(values, wanted)
        fits.append(Fit(config, beta, nll(values, wanted, beta.value) / len(wanted)))
    return min(fits, key=lambda fit: fit.nll)


def values_of(rollouts: Sequence[Transitions], n_actions: int, config: QLearningConfig) -> FloatArray:
    """Q-values of :func:`envs.agents.q_learning.learn` for rollouts of one length, all at once: [R, T, n_actions].

    Their states are told apart, so that one table holds what each has learned.
    """
    n_states = max(t.n_states for t in rollouts)
    first = n_states * np.arange(len(rollouts))[:, None]
    state = np.stack([t.state for t in rollouts]) + first
    columns: list[NDArray[Any]] = [state, *(np.stack([getattr(t, name) for t in rollouts]) for name in AFTER)]
    columns[3] = columns[3] + first
    table = np.zeros((n_states * len(rollouts), n_actions))
    values = np.zeros((*state.shape, n_actions))
    for n in range(state.shape[1]):
        values[:, n] = table[state[:, n]]
        s, a, r, after, ends = (column[:, config.first(n) : n + 1].ravel() for column in columns)
        windowed_update(table, s, a, r, after, ends, config)
    return values


def fitted(actions: Sequence[str], fit: Fit) -> OtherLearner:
    """The learner that was fitted, named with its parameters."""
    about = f"alpha {fit.config.alpha:g}, gamma {fit.config.gamma:g}, beta {fit.beta.value:.3g}"
    name = f"{FITTED}: {about}; {fit.nll:.3f} nats a decision"
    return OtherLearner(name, PREFIXES[FITTED], tuple(actions), fit.config)


def generating(actions: Sequence[str], settings: Mapping[str, float]) -> OtherLearner:
    """The learner that made a grid world's moves, from the task's settings ``alpha`` and ``gamma``."""
    config = QLearningConfig(settings["alpha"], settings["gamma"], window=None)
    return OtherLearner(GENERATOR, PREFIXES[GENERATOR], tuple(actions), config, own_rewards=True)
