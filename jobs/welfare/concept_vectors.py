"""Concept vectors: what the residual stream has at the end of trajectories of one class, less what it has at those of
the others (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, section D.3).

Of the three class means, each the mean over trajectories that end on Mold, Path or Gold, a concept's vector is its own
less the mean of the other two. So the three vectors sum to zero, and a cosine of 0 between two of them is not what
class means give that have nothing to do with each other: it is -1/2 where they vary alike in many directions, and
anything where one direction outdoes the others. The naive model's own cosine is what to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from torch import Tensor

from envs.maze import Tile
from jobs.context import Context
from jobs.stage import Unit
from jobs.welfare.separation import Separation, separation
from tdlens.errors import UserError
from tdlens.record import ConceptVector

CONCEPTS = tuple(tile.name.lower() for tile in Tile)
"""What they are called, in the order of the tiles: mold, path, gold."""
Array = NDArray[np.float64]


class ClassMeans:
    """Means of activations by class in float64, from batches of any size in any order; no activation is kept.

    Args:
        n_blocks: places in the residual stream, the embedding among them.
        d_model: its width.
    """

    def __init__(self, n_blocks: int, d_model: int) -> None:
        self._sums = torch.zeros(len(Tile), n_blocks, d_model, dtype=torch.float64)
        self._norms = torch.zeros(len(Tile), n_blocks, dtype=torch.float64)
        self.counts = np.zeros(len(Tile), np.int64)
        """Activations of each class so far."""

    def add(self, tile: Tile, activations: Tensor) -> None:
        """Count activations of one class [B, n_blocks, d_model] in."""
        wide = activations.double()
        self._sums[tile] += wide.sum(0).cpu()
        self._norms[tile] += wide.norm(dim=-1).sum(0).cpu()
        self.counts[tile] += len(activations)

    @property
    def means(self) -> Tensor:
        """Of each class [classes, n_blocks, d_model], float64.

        Raises:
            ValueError: a class has no activations.
        """
        return self._sums / self._n[:, None, None]

    @property
    def stream_norm(self) -> Array:
        """Mean norm of the activations in each block, every class counting alike [n_blocks]."""
        norms: Array = (self._norms / self._n[:, None]).mean(0).numpy()
        return norms

    @property
    def _n(self) -> Tensor:
        if not self.counts.all():
            raise ValueError(f"no activations of {CONCEPTS[int(self.counts.argmin())]}")
        return torch.from_numpy(self.counts).double()


def vectors(means: Tensor) -> Tensor:
    """Each class mean less the mean of the others, [classes, …] to the same."""
    others = (means.sum(0, keepdim=True) - means) / (len(means) - 1)
    return means - others


def projections(activations: Tensor, directions: Tensor) -> Tensor:
    """How far activations go along directions, block by block.

    Args:
        activations: [B, n_blocks, d_model].
        directions: not all of unit norm [C, n_blocks, d_model]; one of norm zero is projected on as zero.

    Returns:
        float64 [C, B, n_blocks], on the CPU.
    """
    units = torch.nn.functional.normalize(directions.double(), dim=-1, eps=1e-300).to(activations.device)
    return torch.einsum("bld,cld->cbl", activations.double(), units).cpu()


class HeldOut:
    """Projections of activations that made no vector, by class."""

    def __init__(self, directions: Tensor) -> None:
        self._directions = directions
        self._tiles: list[int] = []
        self._parts: list[Tensor] = []

    def add(self, tile: Tile, activations: Tensor) -> None:
        """Project activations of one class [B, n_blocks, d_model]."""
        self._parts.append(projections(activations, self._directions))
        self._tiles += [int(tile)] * len(activations)

    def separation(self, tile: Tile) -> Separation:
        """How well a class is told from the others by its own direction, in each block."""
        values = torch.cat(self._parts, dim=1)[tile].numpy()
        return separation(values, np.array(self._tiles) == tile)


def choose_block(measured: Separation) -> int:
    """Where a concept is read and written: the mean of the blocks that are best by AUROC, by the size of Cohen's d and
    by the overlap of histograms, rounded down.

    The first and the last place in the stream are left out: steering there would be steering of the embedding, or of
    nothing but the logits. Where several blocks have the best AUROC or overlap (in small models several separate the
    classes fully), the largest \\|d\\| decides among them, and then the earliest block; the paper doesn't say.

    Args:
        measured: in blocks 0 to L [L + 1].

    Raises:
        UserError: there is no block between the first and the last.
    """
    size = np.abs(measured.cohen_d)
    blocks = range(1, len(size) - 1)
    if not blocks:
        raise UserError(
            "Concept vectors are read between two blocks, and the model has one block only.",
            "Take a model of two blocks or more.",
        )
    by_auroc = max(blocks, key=lambda block: (measured.auroc[block], size[block]))
    by_size = max(blocks, key=lambda block: size[block])
    by_overlap = max(blocks, key=lambda block: (-measured.overlap[block], size[block]))
    return (by_auroc + by_size + by_overlap) // 3


@dataclass(frozen=True, eq=False)
class Concepts:
    """The concept vectors of one model, as the record has them.

    Attributes:
        mold: float32 [n_blocks + 1, d_model], on the CPU; the first is of the embedding.
        gold: likewise.
        path: likewise.
        chosen: the block of each concept.
        stream_norm: of each concept, the mean norm of the activations in each block [n_blocks + 1]; the same for all.
    """

    mold: Tensor
    gold: Tensor
    path: Tensor
    chosen: dict[str, int]
    stream_norm: dict[str, Array]

    def of(self, concept: str) -> Tensor:
        """A concept's vectors by its name [n_blocks + 1, d_model]."""
        return {"mold": self.mold, "gold": self.gold, "path": self.path}[concept]


def read_vectors(context: Context, unit: Unit) -> Concepts:
    """What a finished unit of the stage ``concepts`` found; read once, and kept."""
    return context.keep(lambda: _read(context, unit), "concepts", unit.identity)


def _read(context: Context, unit: Unit) -> Concepts:
    columns = (
        ConceptVector.concept,
        ConceptVector.block,
        ConceptVector.stream_norm,
        ConceptVector.chosen,
        ConceptVector.blob,
    )
    query = select(*columns).where(ConceptVector.job_id == context.job_id(unit)).order_by(ConceptVector.block)
    with context.record.session(read_only=True) as session:
        rows = session.execute(query).all()
    tensors = context.record.blobs.load_tensors(rows[0].blob)
    return Concepts(
        **{concept: tensors[concept] for concept in CONCEPTS},
        chosen={row.concept: row.block for row in rows if row.chosen},
        stream_norm={
            concept: np.array([row.stream_norm for row in rows if row.concept == concept]) for concept in CONCEPTS
        },
    )
