"""Features over all states of a task, what they tell of these, and which of that goes into SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs import States
from sae.autoencoder import Autoencoder
from sae.predicates import PredicateScores, random_half, score_predicates

Floats = NDArray[np.float64]
Row = dict[str, Any]

NEAREST = 5
"""So many of each predicate's best features go into SQL, beside each feature's best predicate."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the n states that can occur."""

    latents: NDArray[np.int64]
    """Their numbers, [F]."""
    z: Tensor
    """Their values, [n, F]."""

    @classmethod
    def of_autoencoder(cls, sae: Autoencoder, x: Tensor) -> Features:
        """The latents that fire somewhere, from a layer's output [n, d]."""
        z = sae.encode(x)
        live = (z > 0).any(0)
        return cls(live.nonzero().flatten().numpy(), z[:, live])

    @classmethod
    def of_units(cls, x: Tensor) -> Features:
        """Single dimensions [n, d], each in both directions: number i is dimension i, number d + i its negative."""
        both = torch.cat([x, -x], 1)
        return cls(np.arange(both.shape[1]), both)

    def shuffled(self, seed: int) -> Features:
        """The same features of other states."""
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self.z)))
        return Features(self.latents, self.z[order])


@dataclass(frozen=True, eq=False)
class Scored:
    """Features against the predicates of a task's states."""

    features: Features
    names: list[str]
    """Of the P predicates."""
    holds: NDArray[np.bool_]
    """[n, P]"""
    half: NDArray[np.bool_]
    """States on which thresholds were chosen, [n]."""
    scores: PredicateScores
    """Each [F, P]."""

    def best(self) -> list[tuple[int, int]]:
        """Feature and predicate (both as columns) of each feature's highest F1 above chance, clearest first.

        On the selection, so that what is held out hasn't chosen them.
        """
        clear = self._clear
        chosen = clear.argmax(1)
        found = [(feature, int(chosen[feature])) for feature in np.flatnonzero(np.isfinite(clear.max(1))).tolist()]
        return sorted(found, key=lambda pair: -clear[pair])

    @property
    def _clear(self) -> Floats:
        return np.where(np.isfinite(self.scores.clear), self.scores.clear, -np.inf)

    def kept(self) -> list[tuple[int, int]]:
        """Each feature's best predicate, and the best features of each predicate, by F1 above chance."""
        clear = self._clear
        by_predicate = [
            (int(feature), predicate)
            for predicate in range(clear.shape[1])
            for feature in np.argsort(-clear[:, predicate], kind="stable")[:NEAREST]
            if np.isfinite(clear[feature, predicate])
        ]
        return sorted({*self.best(), *by_predicate})

    def row(self, feature: int, predicate: int, states: States) -> Row:
        """A pair's columns in the record."""
        name, scores = self.names[predicate], self.scores
        floats = ("f1", "precision", "recall", "f1_heldout", "ci_low", "ci_high", "null_mean", "null_threshold")
        return {
            "latent": int(self.features.latents[feature]),
            "predicate": name,
            "family": states.family(name),
            **{column: float(getattr(scores, column)[feature, predicate]) for column in (*floats, "z", "p_familywise")},
            **{column: int(getattr(scores, column)[feature, predicate]) for column in ("n_true", "n_fired")},
        }


def score(features: Features, states: States, *, permutations: int, alpha: float, seed: int) -> Scored:
    """Score every feature against every predicate, on halves of the states that ``seed`` draws."""
    predicates = states.predicates()
    holds = np.stack([values[states.occurring] for values in predicates.values()], axis=1)
    half = random_half(len(holds), seed)
    scores = score_predicates(features.z, holds, half, n_permutations=permutations, seed=seed, alpha=alpha)
    return Scored(features, list(predicates), holds, half, scores)
