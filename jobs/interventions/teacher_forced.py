"""What an intervention does to a model that reads what another did: how well it foretells it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jobs import effects
from jobs.context import Context
from jobs.reading import Rollouts


def prediction_effects(
    context: Context, intact: Rollouts, lesioned: Rollouts, weights: NDArray[np.float64]
) -> list[effects.Effect]:
    """Probability of what came, accuracy, and how far the probabilities move; the same texts, read intact, are the
    baseline, and both are read in the same way and the same batches."""

    def measured(rollouts: Rollouts) -> Mapping[str, effects.Array]:
        return effects.predictions(rollouts.transitions, rollouts.probabilities, context.task.links)

    changed, before = measured(lesioned), measured(intact)
    shift = effects.total_variation(lesioned.probabilities, intact.probabilities).mean(1)
    return [
        *(effects.paired(metric, changed[metric], before[metric], weights) for metric in before),
        effects.paired("choice_shift", shift, np.zeros_like(shift), weights),
    ]
