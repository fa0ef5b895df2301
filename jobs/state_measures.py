"""Measures of one block against signals with a column a state, gathered one rollout after the other.

Of a rollout that was added only summaries are kept: its correlations or CKA with the signals of those it is paired
with, its states' representations when they were met last, and how alike its states are under each permutation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from envs.graph_walk import BOTTLENECKS, community
from jobs.context import Context
from jobs.representation import NEARNESS, matrices_of, states_of
from jobs.stage import Unit
from jobs.stages.correlate import signals_of
from sae.cka import PairedCka
from sae.decoding import leave_one_rollout_out, permuted_accuracy
from sae.permutation_null import rollout_permutations
from sae.rollout_means import permuted_means
from sae.rollout_statistics import split_halves
from sae.similarity import permuted_contrast, permuted_similarity
from sae.state_correlation import Held, LatentScores, Left, PairedSignals, best_states, state_correlation
from sae.state_maps import at_last_encounter, cosine, state_means

LARGEST = ("max_r", "max_r_partial", "max_r_given_states")
"""Measures of single features: as they are, given the covariates, given the states."""
SCORED = {"max_r": "r", "max_r_partial": "r_partial"}
"""Those that latents are chosen by, and how their columns are called."""
PAIRED = 32
"""Rollouts that the null pairs with each other: its cost grows with this number, not with that of all rollouts."""
BOTTLENECK, COMMUNITY = "bottleneck", "community"

Floats = NDArray[np.float64]


class Measurement(NamedTuple):
    """One measure of one block against one signal."""

    measure: str
    signal: str
    values: Floats
    """Of each rollout, [R]."""
    means: Floats
    """Over rollouts: as it is, and under each permutation, [P + 1]."""
    shuffled: Floats | None = None
    """Mean of each rollout with the signals of all others of its group, [R]."""


@dataclass(frozen=True)
class Design:
    """What all blocks of a unit are compared with, and how rollouts and states are permuted."""

    context: Context
    unit: Unit

    @property
    def names(self) -> list[str]:
        """Of the signals."""
        names: list[str] = self.unit.config["signals"]
        return names

    @property
    def n_states(self) -> int:
        return self.context.task.n_states

    @property
    def n_rollouts(self) -> int:
        return len(self.variants)

    @cached_property
    def states(self) -> NDArray[np.int64]:
        """[R, T]"""
        return states_of(self.context, self.unit)

    @cached_property
    def signals(self) -> NDArray[np.float32]:
        """[R, T, K, S]"""
        return matrices_of(self.context, self.unit, self.names)

    @cached_property
    def covariates(self) -> Floats:
        """[R, T, C]"""
        return signals_of(self.context, self.unit, self.context.study.correlate.covariates)

    def held(self, measure: str, rollout: int) -> Held:
        """What a measure holds constant: nothing, the covariates, or these and the states entered and left last.

        An SR-TD error is first of all 1 in the column of the state left, and a row of M that of the state entered: a
        feature that knows the name alone correlates with both.
        """
        if measure == "max_r":
            return Held()
        own = self.covariates[rollout]
        if measure == "max_r_partial":
            return Held(own)
        entered = np.eye(self.n_states)[self.states[rollout]]
        left = np.concatenate([np.zeros_like(entered[:1]), entered[:-1]])
        return Held(np.concatenate([own, entered, left], axis=1))

    def nearness(self, rollout: int) -> dict[str, Floats]:
        """By signal: what it knew of each state when the state was met last, [S, S]."""
        states = self.states[rollout]
        return {
            name: at_last_encounter(self.signals[rollout, :, index], states, self.n_states)
            for index, name in enumerate(self.names)
            if name in NEARNESS
        }

    @cached_property
    def variants(self) -> NDArray[np.int64]:
        """The variant of each rollout, [R]."""
        return np.repeat(np.arange(len(self.unit.parents_of("play"))), self.context.study.task.rollouts)

    @cached_property
    def following(self) -> NDArray[np.int64]:
        """The next rollout of the same variant, the first after the last, [R]."""
        return np.roll(np.arange(self.n_rollouts).reshape(-1, self.context.study.task.rollouts), -1, axis=1).ravel()

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Rollouts of one variant that the null pairs, [R]; those of one group follow each other."""
        within = np.arange(self.n_rollouts) % self.context.study.task.rollouts
        return self.variants * self.n_rollouts + within // PAIRED

    def group_from(self, rollout: int) -> slice | None:
        """The rollouts of the group that begins with this one; None in its midst."""
        if rollout and self.groups[rollout] == self.groups[rollout - 1]:
            return None
        return slice(rollout, rollout + int((self.groups == self.groups[rollout]).sum()))

    @cached_property
    def selection(self) -> NDArray[np.bool_]:
        """Rollouts on which latents may be chosen: those of the scalar signals, too, [R]."""
        return split_halves(self.variants, seed=self.unit.seed)

    @cached_property
    def permutations(self) -> NDArray[np.int64]:
        """Of the rollouts of each group, [P, R]."""
        return rollout_permutations(self.groups, self.unit.config["permutations"], seed=self.unit.seed)

    @cached_property
    def permuted_states(self) -> NDArray[np.int16]:
        """Permutations of the states of each rollout, [P, R, S]."""
        shape = (self.unit.config["permutations"], self.n_rollouts, 1)
        states = np.tile(np.arange(self.n_states, dtype=np.int16), shape)
        return np.random.default_rng(self.unit.seed).permuted(states, axis=2, out=states)

    def of_pairs(self, measure: str, pairs: Floats) -> Iterator[Measurement]:
        """From a measure of every rollout with the signals of every other of its group, [R, R, K], NaN elsewhere."""
        others = np.where(np.eye(len(pairs), dtype=np.bool_)[:, :, None], np.nan, pairs)
        known = np.isfinite(others)
        with np.errstate(invalid="ignore"):
            shuffled = np.where(known, others, 0.0).sum(1) / known.sum(1)
        means = permuted_means(pairs, self.permutations)
        for index, name in enumerate(self.names):
            own = pairs[:, :, index].diagonal().copy()  # the pairs themselves aren't kept
            yield Measurement(measure, name, own, means[:, index], shuffled[:, index])

    def no_pairs(self) -> Floats:
        """[R, R, K] to be filled."""
        return np.full((self.n_rollouts, self.n_rollouts, len(self.names)), np.nan)


class Followed:
    """The largest r over features, averaged over states, as it is and given what could feign it.

    Args:
        design: what they are compared with.
        about: the features, one row each, as ``jobs.stages.correlate.features_of`` tells them.
        scored: each feature's own correlations are wanted, too.
    """

    def __init__(self, design: Design, about: pd.DataFrame, *, scored: bool) -> None:
        self._design = design
        self._about = about
        self._pairs = {measure: design.no_pairs() for measure in LARGEST}
        shape = (len(about), len(design.names))
        suffixes = ("", "_selection", "_heldout", "_chance_selection") if scored else ()
        self._scores = {f"{kind}{half}": LatentScores(*shape) for kind in SCORED.values() for half in suffixes}
        self._group = slice(0)
        self._signals: dict[str, PairedSignals] = {}

    def add(self, rollout: int, x: torch.Tensor) -> None:
        """Take in the features of the next rollout, [T, F]."""
        design = self._design
        begun = design.group_from(rollout)
        if begun is not None:
            self._group = begun
            self._signals.clear()  # those of the last group, before there are others
            for measure in LARGEST:
                constant = [design.held(measure, other) for other in range(begun.start, begun.stop)]
                self._signals[measure] = PairedSignals(list(design.signals[begun]), constant)
        for measure, signals in self._signals.items():
            held = design.held(measure, rollout)
            features = held.leaves(x)
            self._pairs[measure][rollout, self._group] = signals.largest(features, held)
            if self._scores and measure in SCORED:
                self._score(SCORED[measure], rollout, features, held)

    def _score(self, kind: str, rollout: int, features: Left, held: Held) -> None:
        design = self._design
        selected = bool(design.selection[rollout])
        halves = {"": rollout, "_selection" if selected else "_heldout": rollout}
        if selected:
            halves["_chance_selection"] = int(design.following[rollout])
        for half, other in halves.items():
            signals = design.signals[other]
            r = state_correlation(features, held.leaves(signals.reshape(len(signals), -1)))
            self._scores[f"{kind}{half}"].add(best_states(r.reshape(len(r), *signals.shape[1:])))

    def measurements(self) -> Iterator[Measurement]:
        """Of all rollouts that were added."""
        for measure, pairs in self._pairs.items():
            yield from self._design.of_pairs(measure, pairs)

    def table(self) -> pd.DataFrame:
        """Each latent's mean over rollouts of its largest r over states, one row a latent and signal.

        Columns as those of the correlations with scalar signals, so that latents are chosen from either alike. The
        largest of several is above 0 for whatever fires: ``chance`` is the same with the signals of the next rollout.
        """
        means = {name: scores.mean for name, scores in self._scores.items()}
        return pd.concat(
            self._about.assign(signal=signal, **{name: mean[:, index] for name, mean in means.items()})
            for index, signal in enumerate(self._design.names)
        )


class Structure:
    """The residual stream as a whole: CKA with the signals, and how its states are represented."""

    def __init__(self, design: Design) -> None:
        self._design = design
        self._cka = design.no_pairs()
        self._group = slice(0)
        self._signals: PairedCka | None = None
        self._last: list[Floats] = []
        self._contrasts: list[Floats] = []
        self._similar: dict[str, list[Floats]] = defaultdict(list)
        self._community = np.array([community(state) for state in range(design.n_states)])

    def add(self, rollout: int, x: torch.Tensor) -> None:
        """Take in the next rollout, [T, d]."""
        design, states = self._design, self._design.states[rollout]
        begun = design.group_from(rollout)
        if begun is not None:
            self._group, self._signals = begun, PairedCka(list(design.signals[begun]))
        if self._signals is not None:
            self._cka[rollout, self._group] = self._signals.of(x)
        self._last.append(at_last_encounter(x, states, design.n_states))
        # less the rollout's mean: what all states have in common would make all cosines one
        table = cosine(state_means(x - x.mean(0, dtype=torch.float64), states, design.n_states))
        order = design.permuted_states[:, rollout]
        self._contrasts.append(permuted_contrast(table, self._community, order))
        for name, nearness in design.nearness(rollout).items():
            self._similar[name].append(permuted_similarity(table, nearness, order))

    def measurements(self) -> Iterator[Measurement]:
        """Of all rollouts that were added."""
        design, last = self._design, np.stack(self._last)
        yield from design.of_pairs("cka", self._cka)
        bottleneck = np.isin(np.arange(design.n_states), BOTTLENECKS)
        predicted = leave_one_rollout_out(last, bottleneck, seed=design.unit.seed)
        met = np.asarray(np.isfinite(last).all(2))
        yield _of_states("decoding", BOTTLENECK, permuted_accuracy(predicted, bottleneck, met, design.permuted_states))
        yield _of_states("contrast", COMMUNITY, np.stack(self._contrasts, axis=1))
        for name, similar in self._similar.items():
            yield _of_states("similarity", name, np.stack(similar, axis=1))


def _of_states(measure: str, signal: str, permuted: Floats) -> Measurement:
    """From the measure in each rollout, as it is and with its states permuted, [P + 1, R]."""
    known = np.isfinite(permuted)
    with np.errstate(invalid="ignore"):
        means = np.where(known, permuted, 0.0).sum(1) / known.sum(1)
    return Measurement(measure, signal, permuted[0], means)
