"""Heads that stand in for each other: two ablated at once do more damage than one by one.

Where a second head takes over what an ablated one did (self-repair, backup heads), ablating either alone shows little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from envs.circuit_tasks.prompts import Prompts
from envs.head_ablation import Ablation
from jobs.circuits.scoring import task_sweep, task_values
from jobs.circuits.sweep import Told, refuse_missing_heads
from jobs.inference.base import Engine


@dataclass(frozen=True, eq=False)
class PairDamage:
    """Task damage of n heads alone and of all P = n (n - 1) / 2 pairs of them, in nats."""

    heads: tuple[int, ...]
    """As (block - 1) * n_heads + head."""
    alone: NDArray[np.float64]
    """By how much the task's mean metric falls without each head [n]."""
    pairs: tuple[tuple[int, int], ...]
    """Heads of each pair, in the order of ``heads``."""
    together: NDArray[np.float64]
    """By how much it falls without both [P]."""
    excess: NDArray[np.float64]
    """The same less the sum of what each does alone [P]: above 0 where they stand in for each other."""


def pair_damage(
    engine: Engine,
    prompts: Prompts,
    heads: Sequence[int],
    *,
    ablation: Ablation = "value_bias",
    told: Told | None = None,
) -> PairDamage:
    """What heads do to a task's prompts one by one and two by two: one pass on the prompts each.

    Args:
        engine: the model.
        prompts: of the task.
        heads: two or more, distinct.
        ablation: what ablated heads become.
        told: how many more of the ablations are done.

    Raises:
        UserError: a head that isn't there, or the ablation isn't possible with this engine.
        ValueError: fewer than two heads, or one twice.
    """
    if len(set(heads)) < max(2, len(heads)):
        raise ValueError("pairs need two heads or more, each named once")
    refuse_missing_heads(heads, engine.n_blocks, engine.n_heads)
    sweep = task_sweep(engine, prompts)
    pairs = tuple(combinations(heads, 2))
    ablations = [*((head,) for head in heads), *pairs]
    found = sweep.run(ablations, task_values(engine, prompts, ablation), told).mean(axis=1)
    damage = sweep.untouched.mean() - found
    alone, together = damage[: len(heads)], damage[len(heads) :]
    each = dict(zip(heads, alone, strict=True))
    excess = together - np.array([each[one] + each[other] for one, other in pairs])
    return PairDamage(tuple(heads), alone, pairs, together, excess)
