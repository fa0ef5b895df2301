"""How well each agent explains choices: softmax likelihoods with one inverse temperature for all rollouts.

The models are those of Demircan et al. (2025, arXiv 2410.01280, Two-Step task and Fig 2B), who compare summed
negative log likelihoods without a test. Added here: information criteria, the reviewers' best-episode model,
and an interval over rollouts for every difference to Q-learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from envs.agents.agent import Agent
from envs.agents.best_episode import BestEpisode
from envs.agents.myopic import Myopic
from envs.agents.q_learning import QLearning
from envs.agents.repetition import Repetition
from envs.agents.transitions import BoolArray, FloatArray, IntArray, Transitions

MAX_SCALED_BETA = 1e3
"""Largest inverse temperature that is tried, in units of one over the median spread of the values."""

Choices = IntArray | FloatArray
"""The actions taken, [M], or the probabilities with which they were to be expected, [M, n_actions]."""


class Estimate(StrEnum):
    """How an inverse temperature came about."""

    FIXED = "fixed"
    """Given, not fitted."""
    INTERIOR = "interior"
    """The maximum of the likelihood."""
    ZERO = "zero"
    """At its lower bound 0: the values predict the choices no better than chance, or worse."""
    UNBOUNDED = "unbounded"
    """At its upper bound: the highest value (nearly) always won, so no finite maximum exists."""
    UNIDENTIFIED = "unidentified"
    """The values never tell the actions apart; any inverse temperature gives the likelihood of chance."""


@dataclass(frozen=True)
class Beta:
    """An inverse temperature and how it was obtained."""

    value: float
    """At least 0; 0 where unidentified."""
    estimate: Estimate
    """Whether it can be read as a maximum-likelihood estimate."""


@dataclass(frozen=True)
class Scored:
    """The choices of R rollouts that count, M in all, as one agent saw them."""

    values: FloatArray
    """The agent's preferences before each choice, [M, n_actions]."""
    choices: IntArray
    """Action taken, [M]."""
    rollout: IntArray
    """Rollout of each choice, 0 to R - 1, [M]."""


@dataclass(frozen=True)
class BehaviourModel:
    """An agent's preferences read through a softmax."""

    name: str
    """Name in tables and figures."""
    agent: Agent
    """Whose preferences."""
    beta: float | None = None
    """Inverse temperature; None fits it."""


@dataclass(frozen=True)
class Difference:
    """Summed NLL of a model minus that of the reference model: positive where the reference explains more."""

    value: float
    """Over all rollouts, in nats."""
    ci_low: float
    """2.5 % quantile of the paired bootstrap over rollouts."""
    ci_high: float
    """97.5 % quantile."""


@dataclass(frozen=True, eq=False)
class BehaviourFit:
    """One model's account of the scored choices of R rollouts; likelihoods in nats."""

    model: str
    """Name of the behaviour model, ``chance`` for uniformly random choices."""
    beta: Beta
    """Inverse temperature, one for all rollouts."""
    nll_per_rollout: FloatArray
    """Negative log likelihood of each rollout's scored choices, [R]."""
    n_choices: int
    """Scored choices in all rollouts."""
    n_parameters: int
    """Fitted parameters: 1, or 0 with a given inverse temperature."""
    chance_nll: float
    """NLL of uniformly random choices."""
    minus_reference: Difference
    """Against the first model of the comparison (Q-learning)."""

    @property
    def nll(self) -> float:
        """Summed over rollouts, as the paper reports it."""
        return float(self.nll_per_rollout.sum())

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2 * self.n_parameters + 2 * self.nll

    @property
    def bic(self) -> float:
        """Bayesian information criterion, counting choices."""
        return float(self.n_parameters * np.log(self.n_choices) + 2 * self.nll)


def standard_models(actions: Sequence[str] = ("left", "right")) -> tuple[BehaviourModel, ...]:
    """Q-learning first (the reference), then its rivals; the repetition model fitted and as published."""
    names = tuple(action.strip() for action in actions)
    return (
        BehaviourModel("q_learning", QLearning(names)),
        BehaviourModel("myopic", Myopic(names)),
        BehaviourModel("repetition", Repetition(names)),
        BehaviourModel("repetition_unfitted", Repetition(names), beta=1.0),
        BehaviourModel("best_episode", BestEpisode(names)),
    )


def choice_nll(values: FloatArray, choices: Choices, beta: float) -> FloatArray:
    """Negative log likelihood of each choice under softmax(beta · values), [M]."""
    logarithms: FloatArray = log_softmax(beta * values, axis=1)
    return -_expected(logarithms, choices)


def _expected(values: FloatArray, choices: Choices) -> FloatArray:
    """Of values [M, n_actions] that of the action taken, or their mean over the probabilities, [M]."""
    if choices.ndim == 1:
        return np.asarray(np.take_along_axis(values, choices[:, None].astype(np.int64), axis=1)[:, 0])
    return np.asarray((choices * values).sum(axis=1))


def nll(values: FloatArray, choices: Choices, beta: float) -> float:
    """Summed :func:`choice_nll`, in nats."""
    return float(choice_nll(values, choices, beta).sum())


def fit_beta(values: FloatArray, choices: Choices) -> Beta:
    """The inverse temperature of at least 0 with the highest likelihood.

    The NLL is convex in it, so the only root of its slope is the optimum.

    Args:
        values: preferences before each choice, [M, n_actions].
        choices: action taken, or probabilities to come close to.
    """
    centred = values - values.max(axis=1, keepdims=True)
    spread = -centred.min(axis=1)
    if not spread.any():
        return Beta(0.0, Estimate.UNIDENTIFIED)
    unit = float(np.median(spread[spread > 0]))
    centred = centred / unit
    taken = _expected(centred, choices)

    def slope(scaled: float) -> float:
        expected = (softmax(scaled * centred, axis=1) * centred).sum(axis=1)
        return float((expected - taken).sum())

    if slope(0.0) >= 0:
        return Beta(0.0, Estimate.ZERO)
    if slope(MAX_SCALED_BETA) <= 0:
        return Beta(MAX_SCALED_BETA / unit, Estimate.UNBOUNDED)
    return Beta(brentq(slope, 0.0, MAX_SCALED_BETA, xtol=1e-12, rtol=1e-12) / unit, Estimate.INTERIOR)


def score(agent: Agent, rollouts: Sequence[Transitions], scored: Sequence[BoolArray]) -> Scored:
    """An agent's preferences at the choices that count.

    Args:
        rollouts: R histories; the agent starts afresh in each and learns from all of its decisions.
        scored: for each rollout which decisions count, [N] each; in the Two-Step task those not forced.

    Raises:
        ValueError: no choice counts, or the masks do not fit the rollouts.
    """
    if [len(mask) for mask in scored] != [len(t) for t in rollouts]:
        raise ValueError("there must be one mask for every rollout and one entry for every decision")
    if not any(mask.any() for mask in scored):
        raise ValueError("no choice to score: every decision of every rollout was forced")
    pairs = list(zip(rollouts, scored, strict=True))
    return Scored(
        values=np.concatenate([agent.action_values(t)[mask] for t, mask in pairs]),
        choices=np.concatenate([t.action[mask] for t, mask in pairs]),
        rollout=np.repeat(np.arange(len(pairs)), [int(mask.sum()) for mask in scored]),
    )


def bootstrap(difference: FloatArray, rng: np.random.Generator, n_resamples: int) -> Difference:
    """Sum of one paired difference per rollout [R], with its interval over resampled rollouts."""
    n = difference.size
    sums = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples) @ difference
    low, high = np.quantile(sums, [0.025, 0.975])
    return Difference(float(difference.sum()), float(low), float(high))


def compare(
    rollouts: Sequence[Transitions],
    scored: Sequence[BoolArray],
    models: Sequence[BehaviourModel],
    rng: np.random.Generator,
    n_resamples: int = 10_000,
) -> list[BehaviourFit]:
    """Fit every model and chance, and compare each with the first.

    The inverse temperatures are those of the whole data in every resample. At the optimum the likelihood does
    not change to first order with them, so the intervals lose little by that.

    Args:
        rollouts: R histories.
        scored: for each rollout which decisions count, [N] each.
        models: what to fit; the first is the reference of the differences.
        rng: draws the resamples.
        n_resamples: resamples of the paired bootstrap over rollouts.

    Returns:
        One fit a model in the given order, then ``chance``.

    Raises:
        ValueError: no model, no choice that counts, or masks that do not fit the rollouts.
    """
    if not models:
        raise ValueError("there must be at least one behaviour model: the first is the reference")
    chance = BehaviourModel("chance", models[0].agent, beta=0.0)
    fits: list[BehaviourFit] = []
    for model in [*models, chance]:
        data = score(model.agent, rollouts, scored)
        beta = fit_beta(data.values, data.choices) if model.beta is None else Beta(model.beta, Estimate.FIXED)
        losses = choice_nll(data.values, data.choices, beta.value)
        per_rollout = np.bincount(data.rollout, weights=losses, minlength=len(rollouts)).astype(np.float64)
        reference = fits[0].nll_per_rollout if fits else per_rollout
        n_choices, n_actions = data.values.shape
        fits.append(
            BehaviourFit(
                model=model.name,
                beta=beta,
                nll_per_rollout=per_rollout,
                n_choices=n_choices,
                n_parameters=int(model.beta is None),
                chance_nll=n_choices * float(np.log(n_actions)),
                minus_reference=bootstrap(per_rollout - reference, rng, n_resamples),
            )
        )
    return fits
