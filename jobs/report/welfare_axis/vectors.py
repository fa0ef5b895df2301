"""Concept vectors in their blocks: how well they separate, where the two of a model point, and what was chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.welfare_axis.trainings import NAIVE, Training, trainings
from tdlens.figures import BLUE, ORANGE

CONCEPTS = {"gold": ORANGE, "mold": BLUE}
"""The two tiles and their colours."""


@dataclass(frozen=True)
class Owner:
    """Whose vectors: a trained model, or the naive one told about tiles of some look."""

    training: Training | None
    variant: str

    @property
    def name(self) -> str:
        return NAIVE if self.training is None else self.training.name

    @property
    def said(self) -> str:
        """For legends."""
        if self.training is not None:
            return self.training.said
        return NAIVE if self.variant == "standard" else f"{NAIVE}, {self.variant} tiles"


def owners(facts: StudyFacts) -> list[Owner]:
    """Every model with vectors: the trained ones, and the naive one with the tiles of each."""
    several = trainings(facts)
    variants = dict.fromkeys(one.variant for one in several)
    return [*(Owner(one, one.variant) for one in several), *(Owner(None, variant) for variant in variants)]


def naive_of(training: Training) -> Owner:
    """The naive model told about the tiles that a training has."""
    return Owner(None, training.variant)


def _mine(rows: pd.DataFrame, owner: Owner) -> pd.DataFrame:
    if owner.training is None:
        return rows[rows["training"].isna() & (rows["variant"] == owner.variant)]
    return rows[(rows["training"] == owner.training.name) & rows["step"].isna()]


def read_vectors(reader: Reader) -> pd.DataFrame:
    """A row a model, concept and block: training, step, variant, concept, block, norm, stream_norm, auroc, cohen_d,
    overlap, chosen, n.

    Raises:
        NotRecorded: there are no concept vectors.
    """
    rows = reader.ask(
        """
        SELECT training, step, variant, concept, block, norm, stream_norm, auroc, cohen_d, overlap, chosen, n
        FROM v_concept_vector WHERE study = :study ORDER BY training, step, variant, concept, block
        """
    )
    if rows.empty:
        raise NotRecorded("concept vectors (stage concepts)")
    numbers = ["norm", "stream_norm", "auroc", "cohen_d", "overlap", "step"]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    rows["chosen"] = rows["chosen"].astype(bool)
    return rows


def of_owner(rows: pd.DataFrame, owner: Owner, concept: str) -> pd.DataFrame:
    """One concept of one model, a row a block; empty where it has none."""
    mine = _mine(rows, owner)
    return mine[mine["concept"] == concept].sort_values("block").reset_index(drop=True)


def chosen(rows: pd.DataFrame, owner: Owner, concept: str) -> pd.Series | None:
    """The row of the block that the rule chooses; None where there is none."""
    mine = of_owner(rows, owner, concept)
    found = mine[mine["chosen"]]
    return None if found.empty else found.iloc[0]


def read_cosines(reader: Reader) -> pd.DataFrame:
    """A row a model and block: training, step, variant, block, pair, cosine.

    Pairs are ``plain`` (the two vectors), ``path`` (class means less that of Path), and ``gold`` and ``mold``: each
    vector with the naive model's own.

    Raises:
        NotRecorded: there are no concept vectors.
    """
    rows = reader.ask(
        """
        SELECT training, step, variant, block, concept, other, cosine FROM v_concept_cosine
        WHERE study = :study ORDER BY training, step, variant, block, concept, other
        """
    )
    if rows.empty:
        raise NotRecorded("cosines of concept vectors (stage concepts)")
    rows[["cosine", "step"]] = rows[["cosine", "step"]].apply(pd.to_numeric)
    pairs = {
        frozenset(("mold", "gold")): "plain",
        frozenset(("mold - path", "gold - path")): "path",
        frozenset(("gold", "untrained gold")): "gold",
        frozenset(("mold", "untrained mold")): "mold",
    }
    rows["pair"] = [pairs.get(frozenset(both), "") for both in zip(rows["concept"], rows["other"], strict=True)]
    return rows[rows["pair"] != ""].reset_index(drop=True)


def cosines(rows: pd.DataFrame, owner: Owner, pair: str = "plain") -> pd.Series[float]:
    """cos(v_Mold, v_Gold) of one model by block."""
    mine = _mine(rows, owner)
    return mine[mine["pair"] == pair].set_index("block")["cosine"].sort_index().astype(float)


@dataclass(frozen=True)
class Apart:
    """How far the two vectors of a model point apart: over what enters its decoder blocks, the embedding left out."""

    mean: float
    least: float
    block: int
    """Of the least."""


def apart(by_block: pd.Series[float]) -> Apart | None:
    """Of cosines by block, 0 to n: those of blocks 1 to n - 1; None where there are none."""
    inner = by_block[(by_block.index > 0) & (by_block.index < by_block.index.max())].dropna()
    if inner.empty:
        return None
    return Apart(float(inner.mean()), float(inner.min()), int(inner.idxmin()))


@dataclass(frozen=True)
class Passed:
    """A model that the first training passed through."""

    step: int
    points: float
    """Mean return in the steps before it."""
    d: float
    """The smaller one of both concepts' largest Cohen's d over blocks."""
    least: float
    """Least cosine of both vectors."""


def read_passed(reader: Reader, progress: pd.DataFrame, training: Training) -> list[Passed]:
    """The checkpoints of a training in their order, the naive model before them at step 0.

    Args:
        reader: of the study.
        progress: of the training, a row a step.
        training: the one whose checkpoints have vectors.

    Raises:
        NotRecorded: there are no vectors of checkpoints.
    """
    vectors, angles = read_vectors(reader), read_cosines(reader)
    steps = sorted({int(step) for step in vectors.loc[vectors["training"] == training.name, "step"].dropna()})
    if not steps:
        raise NotRecorded("concept vectors of checkpoints (concepts.checkpoints)")
    returns = progress.set_index("step")["mean_return"].astype(float)
    first = _passed(0, returns, _mine(vectors, naive_of(training)), cosines(angles, naive_of(training)))
    found = [first] if first is not None else []
    for before, step in zip([0, *steps], steps, strict=False):
        at = angles[(angles["training"] == training.name) & (angles["step"] == step) & (angles["pair"] == "plain")]
        mine = vectors[(vectors["training"] == training.name) & (vectors["step"] == step)]
        one = _passed(step, returns[returns.index > before], mine, at.set_index("block")["cosine"].sort_index())
        found += [one] if one is not None else []
    return found


def _passed(step: int, returns: pd.Series[float], rows: pd.DataFrame, by_block: pd.Series[float]) -> Passed | None:
    least = apart(by_block)
    if rows.empty or least is None:
        return None
    inner = rows[(rows["block"] > 0) & (rows["block"] < rows["block"].max())]
    largest = [float(inner.loc[inner["concept"] == concept, "cohen_d"].max()) for concept in CONCEPTS]
    near = returns[returns.index <= step] if step else returns.head(1)
    return Passed(step, float(near.mean()) if len(near) else float("nan"), float(np.min(largest)), least.least)
