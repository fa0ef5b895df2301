"""What all blocks still represent of the signals under an intervention, beside what they do without it.

Batches are taken as they are played or read, and of their activations only sums, or one number a rollout, are kept.
Autoencoders of all blocks may be larger than the memory: they are mapped from their files, and verified once in a
process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from envs.agents import Transitions
from envs.game import Game
from jobs import effects
from jobs.context import Context
from jobs.inference.play import Take
from jobs.learners import matrix_sources, sources
from jobs.reading import read_signals
from jobs.recording import Replayed, replay_sources
from jobs.representation import MAPPED, Maps, matrices_of
from jobs.stage import Unit
from jobs.stages.correlate import autoencoder_of
from jobs.stages.signals import replayed_matrices, rollouts_of
from jobs.stages.train_sae import activations_of
from sae.autoencoder import Autoencoder
from sae.rollout_means import mean_interval
from sae.state_correlation import Held, largest, state_correlation

Stream = Mapping[int, torch.Tensor]
"""The residual stream of some rollouts at their decisions by block, [b, T, d]."""


class Measure(Protocol):
    """Something about every block that is gathered batch by batch."""

    def add(self, stream: Stream, rollouts: Sequence[Transitions]) -> None:
        """Gather the next rollouts."""

    def differences(self, weights: NDArray[np.float64]) -> list[effects.Effect]:
        """Of all rollouts that were added; ``weights`` as in :func:`jobs.effects.paired`."""


def taking(games: Sequence[Game], measures: Sequence[Measure]) -> Take:
    """What a player hands its batches of activations to, once their games are at their end."""
    left = iter(games)

    def take(activations: Stream) -> None:
        n_rollouts = len(next(iter(activations.values())))
        rollouts = [Transitions.from_steps(game.steps) for game in islice(left, n_rollouts)]
        for measure in measures:
            measure.add(activations, rollouts)

    return take


def followed(context: Context, signal: str) -> tuple[str, ...]:
    """The signals whose correlations are measured in all blocks: TD error and Q-values, else the lesioned signal."""
    section, task = context.study.signals, context.task
    if "q_learning" in section.agents:
        return ("td_error", *(f"q_{action}" for action in task.actions))
    return (signal,) if any(signal in source.describe() for source in sources(section, task)) else ()


def replayed(context: Context, rollouts: Sequence[Transitions], names: Sequence[str]) -> list[Replayed]:
    """The named signals of rollouts, by the study's agents that give them."""
    giving = [source for source in sources(context.study.signals, context.task) if set(source.describe()) & set(names)]
    return replay_sources(rollouts, giving, names)


class Signals:
    """Highest correlation of a latent with each signal, over the decisions of all rollouts (paper Fig 2G, H)."""

    def __init__(self, context: Context, unit: Unit, names: tuple[str, ...]) -> None:
        self._context = context
        self._unit = unit
        self._names = names
        self._parts: dict[int, list[effects.Moments]] = defaultdict(list)

    def add(self, stream: Stream, rollouts: Sequence[Transitions]) -> None:
        if not self._names:
            return
        values = {name: x for one in replayed(self._context, rollouts, self._names) for name, x in one.values.items()}
        y = np.stack([values[name] for name in self._names], axis=-1)
        for trained in self._unit.parents_of("train_sae"):
            block = trained.config["block"]
            self._parts[block].append(moments(_autoencoder(self._context, trained), stream[block], y))

    def differences(self, weights: NDArray[np.float64]) -> list[effects.Effect]:
        found = []
        for trained in self._unit.parents_of("train_sae") if self._names else ():
            intact = self._context.keep(partial(self._intact, trained), "moments", trained.identity, self._names)
            block = trained.config["block"]
            lesioned = effects.Moments.joined(self._parts[block]).live()
            found += effects.correlation_effects(self._names, lesioned, intact, weights, block)
        return found

    def _intact(self, trained: Unit) -> effects.Moments:
        plays, replays = self._unit.parents_of("play"), self._unit.parents_of("signals")
        step_ids = rollouts_of(self._context, plays[0]).step_ids
        with self._context.record.session(read_only=True) as session:
            y = read_signals(session, self._context.job_id(replays[0]), step_ids, self._names)
        x = activations_of(self._context, plays, trained.config["block"])
        return moments(_autoencoder(self._context, trained), x.reshape(*step_ids.shape, -1), y).live()


class States:
    """The same for signals with a value for every state, rollout by rollout (paper Fig 6B, C), and maps of the states.

    The largest r over latents stands for a state, the mean over states for a rollout.
    """

    def __init__(self, context: Context, unit: Unit) -> None:
        self._context = context
        self._unit = unit
        self._names = tuple(context.study.signals.matrices(context.task))
        self._parts: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
        self._mapped: dict[int, torch.Tensor] = {}

    def add(self, stream: Stream, rollouts: Sequence[Transitions]) -> None:
        if not self._names:
            return
        matrices: dict[str, NDArray[np.float64]] = {}
        for source in matrix_sources(self._context.study.signals, self._context.task):
            matrices |= replayed_matrices(rollouts, source)
        y = np.stack([matrices[name] for name in self._names], axis=2)
        for trained in self._unit.parents_of("train_sae"):
            block = trained.config["block"]
            self._parts[block].append(self._largest(trained, stream[block], y))
            self._mapped.setdefault(block, stream[block][Maps.ROLLOUT].float().clone())

    def measures(self) -> list[dict[str, Any]]:
        """The mean over rollouts in each block with its interval, as columns of ``block_measure``."""
        return [
            {"block": block, "source": "sae", "measure": "max_r", "signal": name}
            | {"value": mean.value, "ci_low": mean.low, "ci_high": mean.high, "n_rollouts": mean.n}
            for block, values in self._by_block().items()
            for name, mean in zip(self._names, map(mean_interval, values.T), strict=True)
        ]

    def points(self, first: int) -> list[dict[str, Any]]:
        """Maps of the states in the first edited block and the one after it, as columns of ``map_point``."""
        if MAPPED not in self._names:
            return []
        play = self._unit.parents_of("play")[0]
        maps = self._context.keep(partial(Maps, self._context, self._unit), "maps", play.identity)
        blocks = [block for block in (first, first + 1) if block in self._mapped]
        return [point for block in blocks for point in maps.rows(self._mapped[block], block=block, source="stream")]

    def differences(self, weights: NDArray[np.float64]) -> list[effects.Effect]:
        lesioned, found = self._by_block(), []
        for trained in self._unit.parents_of("train_sae") if self._names else ():
            block = trained.config["block"]
            intact = self._context.keep(partial(self._intact, trained), "states", trained.identity)
            for column, name in enumerate(self._names):
                effect = effects.paired(f"max_r_{name}", lesioned[block][:, column], intact[:, column], weights)
                found.append(replace(effect, block=block))
        return found

    def _by_block(self) -> dict[int, NDArray[np.float64]]:
        """Of each rollout that was added and each signal, [R, K]."""
        return {block: np.concatenate(parts) for block, parts in self._parts.items()}

    def _intact(self, trained: Unit) -> NDArray[np.float64]:
        y = matrices_of(self._context, self._unit, self._names)
        x = activations_of(self._context, self._unit.parents_of("play"), trained.config["block"])
        return self._largest(trained, x.reshape(*y.shape[:2], -1), y)

    def _largest(self, trained: Unit, x: torch.Tensor, y: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """From the residual stream [R, T, d] and signals [R, T, K, S]; one rollout's latents are held at a time."""
        sae, found = _autoencoder(self._context, trained), []
        for one, signals in zip(x, y, strict=True):
            columns = Held().leaves(signals.reshape(len(signals), -1))
            r = state_correlation(Held().leaves(sae.encode(one.float())), columns)
            found.append([float(largest(of_signal)) for of_signal in np.split(r, len(self._names), axis=1)])
        return np.array(found)


def moments(sae: Autoencoder, x: torch.Tensor, y: NDArray[np.float64]) -> effects.Moments:
    """Of the latents of a residual stream [R, T, d] and signals [R, T, S]; one rollout's latents are held at a time."""
    return effects.Moments.joined(
        [
            effects.Moments.of(sae.encode(one.float()[None]).double().numpy(), signals[None])
            for one, signals in zip(x, y, strict=True)
        ]
    )


def _autoencoder(context: Context, trained: Unit) -> Autoencoder:
    return context.keep(partial(autoencoder_of, context, trained), "autoencoder", trained.identity)
