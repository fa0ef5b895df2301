"""Control latents for interventions: as active as the targets, but not correlated with the signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]


class Match(NamedTuple):
    """A target latent and its control."""

    target: int
    control: int
    distance: float
    """Euclidean distance of what they are matched on; of (log frequency, log rms) 0.1 is a difference of about 10 %."""


def lowest_correlation(r: Floats, live: NDArray[np.bool_], count: int = 1) -> list[int]:
    """The live latents with the smallest |r|, r [m]; ties go to the lower index, NaN is left out.

    The control lesion of Demircan et al. 2025 (Fig 2F). Raises ValueError where there are fewer than `count`.
    """
    candidates = np.flatnonzero(live & np.isfinite(r))
    if len(candidates) < count:
        raise ValueError(f"{count} control latents were asked for, but only {len(candidates)} live ones have an r")
    order = np.argsort(np.abs(r[candidates]), kind="stable")
    return [int(latent) for latent in candidates[order[:count]]]


def match_controls(
    targets: Sequence[int],
    *,
    frequency: Floats,
    rms: Floats,
    r: Floats,
    max_abs_r: float,
    n_sets: int = 1,
) -> list[list[Match]]:
    """`n_sets` sets of controls, one for each target, matched on log firing frequency and log rms [m].

    Candidates are the latents that fire, are no target and have |r| <= max_abs_r, with r [m] the correlation
    with the signal in question. Each set minimises the total distance; no latent serves twice, so later sets
    match less well. The result depends on the inputs alone. Raises ValueError where the candidates do not
    suffice or a target never fires.
    """
    chosen = np.asarray(targets, dtype=np.int64)
    silent = [int(latent) for latent in chosen if not frequency[latent] > 0]
    if silent:
        raise ValueError(f"target latents {silent} never fire, so nothing matches their firing frequency")
    with np.errstate(divide="ignore"):
        features = np.log(np.column_stack([frequency, rms]))
    allowed = (frequency > 0) & (np.abs(r) <= max_abs_r)
    return nearest_controls(chosen, features, allowed, n_sets=n_sets)


def nearest_controls(
    targets: Sequence[int] | NDArray[np.int64], features: Floats, allowed: NDArray[np.bool_], *, n_sets: int = 1
) -> list[list[Match]]:
    """`n_sets` sets of controls, one for each target, as near as can be in what they are matched on, features [m, F].

    Candidates are the latents that are `allowed` [m] and no target. Otherwise as `match_controls`.
    """
    chosen = np.asarray(targets, dtype=np.int64)
    candidates = np.setdiff1d(np.flatnonzero(allowed), chosen)
    if len(candidates) < n_sets * len(chosen):
        raise ValueError(
            f"{n_sets} x {len(chosen)} control latents were asked for, but only {len(candidates)} latents fire and "
            "follow the signals little enough; raise the bound on |r| or ask for fewer sets"
        )
    sets = []
    for _ in range(n_sets):
        distance = np.linalg.norm(features[chosen][:, None] - features[candidates][None], axis=2)
        rows, columns = linear_sum_assignment(distance)
        sets.append(
            [
                Match(int(chosen[row]), int(candidates[column]), float(distance[row, column]))
                for row, column in zip(rows, columns, strict=True)
            ]
        )
        candidates = np.delete(candidates, columns)
    return sets
