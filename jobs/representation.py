"""What stages that look at whole representations share: signals with a column a state, and maps of states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import select

from envs.graph_walk import community
from jobs.context import Context
from jobs.stage import Unit
from jobs.stages.signals import rollouts_of
from sae.state_maps import aligned, at_last_encounter, mds
from tdlens.record import Artifact

Floats = NDArray[np.float64]

NEARNESS = ("sr", "transition")
"""Signals whose row at a decision says how near the state there is to every other; what neighbour mixing says of two
states ranks them as the transition model does."""
MAPPED = "sr"
"""The signal that maps are turned onto, and that has one of its own."""


def matrices_of(context: Context, unit: Unit, names: Sequence[str]) -> NDArray[np.float32]:
    """Signals with a column a state at the decisions of all variants' rollouts, [R, T, K, S].

    Args:
        unit: a child of the units of ``play`` and ``signals``.
        names: of the K signals.
    """
    plays, replays = unit.parents_of("play"), unit.parents_of("signals")

    def read() -> NDArray[np.float32]:
        step_ids = [rollouts_of(context, play).step_ids for play in plays]
        n_rollouts, (_, n_decisions) = sum(map(len, step_ids)), step_ids[0].shape
        found = np.empty((n_rollouts, n_decisions, len(names), context.task.n_states), np.float32)
        first = 0
        for ids, replay in zip(step_ids, replays, strict=True):
            with context.record.session(read_only=True) as session:
                query = select(Artifact.name, Artifact.blob).where(Artifact.job_id == context.job_id(replay))
                blobs = {name: blob for name, blob in session.execute(query)}
            for index, name in enumerate(names):
                table = context.record.blobs.load_table(blobs[name]).set_index("step_id").loc[ids.ravel()]
                found[first : first + len(ids), :, index] = table.to_numpy().reshape(*ids.shape, -1)
            first += len(ids)
        return found

    return context.keep(read, "matrices", tuple(names), *(replay.identity for replay in replays))


def states_of(context: Context, unit: Unit) -> NDArray[np.int64]:
    """The state at every decision of all variants' rollouts, [R, T]."""
    rollouts = [rollouts_of(context, play) for play in unit.parents_of("play")]
    return np.array([transitions.state for one in rollouts for transitions in one.transitions])


class Maps:
    """Maps of the states of one rollout, the study's first, all turned onto that of its successor representation."""

    ROLLOUT = 0

    def __init__(self, context: Context, unit: Unit) -> None:
        """``unit`` is a child of the units of ``play`` and ``signals``."""
        self._n_states = context.task.n_states
        self._seed = context.study.seed
        self._states = states_of(context, unit)[self.ROLLOUT]
        (game,) = context.games(context.study.task.variants[0], context.rollout_seeds[:1])
        self._labels = [action.strip() for action in game.actions]
        signal = matrices_of(context, unit, (MAPPED,))[self.ROLLOUT, :, 0]
        self._signal = self._plane(signal)

    def rows(self, x: ArrayLike, **common: Any) -> list[dict[str, Any]]:
        """Rows of ``MapPoint`` for a block.

        Args:
            x: its activations in the rollout [T, d].
            common: block, source and, after an intervention, intervention_id.
        """
        return self._rows(aligned(self._plane(x), self._signal), **common)

    def signal_rows(self) -> list[dict[str, Any]]:
        """Rows of ``MapPoint`` for the successor representation itself."""
        return self._rows(self._signal, block=None, source=MAPPED)

    def _plane(self, x: ArrayLike) -> Floats:
        return mds(at_last_encounter(x, self._states, self._n_states), seed=self._seed)

    def _rows(self, plane: Floats, **common: Any) -> list[dict[str, Any]]:
        return [
            {"method": "mds", "rollout_index": self.ROLLOUT, **common, "item": state}
            | {"label": self._labels[state], "grp": community(state), "x": x, "y": y}
            for state, (x, y) in enumerate(plane.tolist())
            if np.isfinite(x)
        ]
