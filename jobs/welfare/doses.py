"""How much of which vector is added: multiples of the vector, and multiples of the stream's own size along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tdlens.errors import UserError
from tdlens.record.steering import DoseKind

RANDOM = 14
"""Behind a seed: what random vectors are drawn from, apart from everything else of the study."""


@dataclass(frozen=True, eq=False)
class Dose:
    """A point of a dose curve."""

    kind: DoseKind
    """alpha: so many times the vector; unit: so many times the mean norm of the stream, along the vector."""
    size: float
    vector: Tensor
    """What is added [d], float32; zeros at dose 0, to the bit."""

    @property
    def norm(self) -> float:
        """Of what is added."""
        return float(self.vector.double().norm())


def doses(vector: Tensor, stream_norm: float, alphas: Sequence[float], units: Sequence[float]) -> list[Dose]:
    """The curve of one vector.

    Args:
        vector: [d].
        stream_norm: mean norm of the residual stream where it is added.
        alphas: multiples of the vector (Han et al. 2026, D.3).
        units: multiples of the stream's norm (D.6: equal alphas aren't equal doses of vectors of different length).

    Raises:
        UserError: the vector is zero, or isn't finite.
    """
    norm = float(vector.double().norm())
    if not 0 < norm < float("inf"):
        raise UserError(
            "A concept vector has no direction: the class means that it is made of don't differ.",
            "Train longer, or with more trajectories: training.steps, concepts.per_class.",
        )
    along = vector.double() * (stream_norm / norm)
    return [
        *(Dose("alpha", size, (size * vector.double()).float()) for size in alphas),
        *(Dose("unit", size, (size * along).float()) for size in units),
    ]


def matched(control: Tensor, vector: Tensor) -> Tensor:
    """A control's direction with a vector's norm [d]: the source's control, whose norms its data don't show (D.6).

    Raises:
        UserError: the control is zero.
    """
    norm = float(control.double().norm())
    if not norm:
        raise UserError(
            "The untrained model's concept vector has no direction, so it is no control.",
            "Read more trajectories: concepts.per_class.",
        )
    scaled: Tensor = control.double() * (float(vector.double().norm()) / norm)
    return scaled.float()


def rotated(vectors: Tensor, seed: Sequence[int]) -> Tensor:
    """Vectors [k, d] turned together by a rotation drawn uniformly from a seed: of the same norms and the same angles.

    Random vectors drawn one by one would be nearly orthogonal, so that what opposite vectors do by being opposite would
    count as theirs.

    Args:
        vectors: linearly independent, or not; fewer than d.
        seed: of the rotation.
    """
    coordinates = torch.linalg.qr(vectors.double().T).R
    drawn = torch.from_numpy(np.random.default_rng((*seed, RANDOM)).normal(size=(vectors.shape[1], len(vectors))))
    basis, triangle = torch.linalg.qr(drawn)
    uniform = basis * triangle.diagonal().sign()
    turned: Tensor = (uniform @ coordinates).T
    return turned.float()
