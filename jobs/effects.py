"""What an intervention did, each effect with an interval over rollouts paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from envs.agents import QLearning, Transitions
from envs.agents.behaviour import choice_nll

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """A metric under an intervention and without it; the interval is of the difference."""

    metric: str
    value: float
    baseline: float
    ci_low: float
    ci_high: float
    block: int | None = None

    @property
    def difference(self) -> float:
        """Under the intervention minus without it."""
        return self.value - self.baseline


def resamples(n: int, count: int, seed: int) -> Array:
    """How often each of ``n`` rollouts occurs in each of ``count`` bootstrap resamples, [count, n]."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=count)
    return drawn.astype(np.float64)


def paired(metric: str, lesioned: Array, intact: Array, weights: Array, *, total: bool = False) -> Effect:
    """Effect on a metric that each rollout has its own value of.

    Args:
        metric: its name.
        lesioned: value of each rollout under the intervention, [R]; NaN where it isn't defined.
        intact: value of the same seed's rollout without it, [R].
        weights: how often each rollout occurs in each bootstrap resample, [B, R].
        total: sum over rollouts rather than mean.
    """
    both = ~(np.isnan(lesioned) | np.isnan(intact))
    if not both.any():
        return Effect(metric, np.nan, np.nan, np.nan, np.nan)
    n = len(lesioned) if total else 1
    value, baseline = (float(values[both].mean()) * n for values in (lesioned, intact))
    difference = np.where(both, lesioned - intact, 0.0)
    resampled = (weights @ difference) / (weights @ both) * n
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Effect(metric, value, baseline, float(low), float(high))


def mean_return(rollouts: Sequence[Transitions], scored: Sequence[NDArray[np.bool_]], last: int | None = None) -> Array:
    """Mean return of the episodes that each rollout chose itself, or of its last few, [R]."""
    values = []
    for transitions, own in zip(rollouts, scored, strict=True):
        ends, returns = transitions.finished_episodes()
        kept = returns[own[ends]]
        values.append(kept[-last:].mean() if last else kept.mean())
    return np.array(values)


def p_greedy(
    rollouts: Sequence[Transitions],
    scored: Sequence[NDArray[np.bool_]],
    probabilities: Array,
    learner: QLearning,
) -> Array:
    """Mean probability that the player gave the action of highest Q-value, where the Q-values differ, [R]."""
    values = []
    for transitions, own, p in zip(rollouts, scored, probabilities, strict=True):
        q = learner.action_values(transitions)
        told_apart = own & (q.max(1) > q.min(1))
        values.append(p[told_apart, q[told_apart].argmax(1)].mean() if told_apart.any() else np.nan)
    return np.array(values)


def nll_under(
    rollouts: Sequence[Transitions], scored: Sequence[NDArray[np.bool_]], learner: QLearning, beta: float
) -> Array:
    """Negative log likelihood of each rollout's own choices under softmax(beta · Q), in nats, [R]."""
    return np.array(
        [
            choice_nll(learner.action_values(t)[own], t.action[own], beta).sum()
            for t, own in zip(rollouts, scored, strict=True)
        ]
    )


LATE = 3 / 8
"""Share of the decisions, the last ones, over which ``p_chosen_late`` is a mean: 200 to 319 of the paper's 320."""


def predictions(
    rollouts: Sequence[Transitions], probabilities: Array, links: NDArray[np.bool_] | None = None
) -> dict[str, Array]:
    """How well a model foretells the actions that it reads, each measure [R].

    Args:
        rollouts: what was done.
        probabilities: of each action before each decision, [R, T, A].
        links: which actions are possible in each state [n_states, A], where not all of them are.

    Returns:
        Means over decisions of the probability of the action that came (``p_chosen``; ``p_chosen_late`` late in the
        rollout), of its logarithm, of whether it was the most probable one (``accuracy``) and, with ``links``, of
        the probability that the possible ones have together (``neighbour_mass``).
    """
    action = np.array([t.action for t in rollouts])
    chosen = np.take_along_axis(probabilities, action[:, :, None], axis=-1)[:, :, 0]
    late = max(1, round(LATE * action.shape[1]))
    found = {
        "p_chosen": chosen.mean(1),
        "log_p_chosen": np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean(1),
        "p_chosen_late": chosen[:, -late:].mean(1),
        "accuracy": (probabilities.argmax(-1) == action).mean(1),
    }
    if links is not None:
        possible = links[np.array([t.state for t in rollouts])]
        found["neighbour_mass"] = (probabilities * possible).sum(-1).mean(1)
    return found


def total_variation(probabilities: Array, intact: Array) -> Array:
    """How far the probabilities of the actions lie apart at each decision, as total variation: [R, T, A] to [R, T]."""
    moved: Array = np.abs(probabilities - intact).sum(-1) / 2
    return moved


@dataclass(frozen=True)
class Moments:
    """Sums over the decisions of each rollout, from which Pearson's r of any resample follows."""

    n: Array
    """Decisions, [R]."""
    means: tuple[Array, Array]
    """Mean of each latent, [L], and of each signal, [S], over all decisions."""
    z: Array
    """Latents centred by their mean, and their squares, [2, R, L]."""
    y: Array
    """Signals likewise, [2, R, S]."""
    zy: Array
    """Products, [R, L, S]."""

    @classmethod
    def of(cls, z: Array, y: Array) -> Self:
        """From latents [R, T, L] and signals [R, T, S]."""
        means = z.mean((0, 1)), y.mean((0, 1))
        z, y = z - means[0], y - means[1]
        return cls(
            n=np.full(len(z), float(z.shape[1])),
            means=means,
            z=np.stack([z.sum(1), (z**2).sum(1)]),
            y=np.stack([y.sum(1), (y**2).sum(1)]),
            zy=np.einsum("rtl,rts->rls", z, y, optimize=True),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Of all rollouts, from those of some rollouts each."""
        share = np.array([part.n.sum() for part in parts])
        z, y = (np.average(means, axis=0, weights=share) for means in zip(*(part.means for part in parts), strict=True))
        moved = [part._about(z, y) for part in parts]
        return cls(
            n=np.concatenate([part.n for part in moved]),
            means=(z, y),
            z=np.concatenate([part.z for part in moved], axis=1),
            y=np.concatenate([part.y for part in moved], axis=1),
            zy=np.concatenate([part.zy for part in moved]),
        )

    def _about(self, z: Array, y: Array) -> Self:
        """The same about other means."""
        n, dz, dy = self.n[:, None], self.means[0] - z, self.means[1] - y
        (z1, z2), (y1, y2) = self.z, self.y
        return replace(
            self,
            means=(z, y),
            z=np.stack([z1 + n * dz, z2 + 2 * dz * z1 + n * dz**2]),
            y=np.stack([y1 + n * dy, y2 + 2 * dy * y1 + n * dy**2]),
            zy=self.zy + dz[:, None] * (y1 + n * dy)[:, None] + z1[:, :, None] * dy,
        )

    def live(self) -> Self:
        """Without the latents that never change, which have no r: of a sparse autoencoder most."""
        changes = self.z[1].any(0)
        z, y = self.means
        return replace(self, means=(z[changes], y), z=self.z[:, :, changes], zy=self.zy[:, changes])

    def highest_r(self, weights: Array) -> Array:
        """Highest signed r over latents for each signal in each resample, [B, S]; weights [B, R]."""
        n = weights @ self.n
        mean_z, mean_y = (np.einsum("br,rl->bl", weights, m[0]) / n[:, None] for m in (self.z, self.y))
        var_z, var_y = (
            np.einsum("br,rl->bl", weights, m[1]) / n[:, None] - mean**2
            for m, mean in ((self.z, mean_z), (self.y, mean_y))
        )
        # what is left of a constant is rounding, small beside its own variance over all rollouts
        varies_z, varies_y = (var > 1e-12 * m[1].sum(0) / self.n.sum() for m, var in ((self.z, var_z), (self.y, var_y)))
        shape = self.zy.shape
        product = (weights @ self.zy.reshape(shape[0], -1)).reshape(len(weights), *shape[1:]) / n[:, None, None]
        covariance = product - mean_z[:, :, None] * mean_y[:, None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            r = covariance / np.sqrt(var_z[:, :, None] * var_y[:, None, :])
        r = np.where(varies_z[:, :, None] & varies_y[:, None, :], r, -np.inf)
        highest: Array = r.max(1, initial=-np.inf)
        return np.where(np.isfinite(highest), highest, np.nan)


def correlation_effects(
    names: Sequence[str], lesioned: Moments, intact: Moments, weights: Array, block: int
) -> list[Effect]:
    """Effect on a block's highest correlation with each signal; ``weights`` as in :func:`paired`."""
    once = np.ones((1, weights.shape[1]))
    resampled = lesioned.highest_r(weights) - intact.highest_r(weights)
    effects = []
    for column, name in enumerate(names):
        low, high = np.nanquantile(resampled[:, column], [0.025, 0.975])
        value, baseline = (float(moments.highest_r(once)[0, column]) for moments in (lesioned, intact))
        effects.append(Effect(f"max_r_{name}", value, baseline, float(low), float(high), block))
    return effects
