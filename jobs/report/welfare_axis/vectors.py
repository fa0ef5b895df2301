"""Concept vectors in their blocks: how well they separate, where the two of a model point, and what was chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.welfare_axis.trainings import NAIVE, Training, trainings
from jobs.sections.welfare import ConceptsSection
from jobs.welfare.separation import cohen_d_interval
from tdlens.figures import BLUE, ORANGE

CONCEPTS = {"gold": ORANGE, "mold": BLUE}
"""The two tiles and their colours."""
SIGNS = {"gold": 1, "mold": -1}
"""Of what pleases, of an answer that was right, and of a signal that is better than expected."""


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


def of_model(rows: pd.DataFrame, owner: Owner) -> pd.DataFrame:
    """Rows of one model: of a training those of the trained model, not of its checkpoints."""
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
    mine = of_model(rows, owner)
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
    mine = of_model(rows, owner)
    return mine[mine["pair"] == pair].set_index("block")["cosine"].sort_index().astype(float)


@dataclass(frozen=True)
class Apart:
    """How far the two vectors of a model point apart: over what enters its decoder blocks, the embedding left out."""

    mean: float
    least: float
    block: int
    """Of the least."""


def apart(by_block: pd.Series[float], among: set[int] | None = None) -> Apart | None:
    """Of cosines by block, 0 to n: those of blocks 1 to n - 1; None where there are none.

    Args:
        by_block: cosines.
        among: blocks that count, as `told_apart` says; all if left out.
    """
    inner = by_block[(by_block.index > 0) & (by_block.index < by_block.index.max())].dropna()
    if among is not None:
        inner = inner[inner.index.isin(list(among))]
    if inner.empty:
        return None
    return Apart(float(inner.mean()), float(inner.min()), int(inner.idxmin()))


def told_apart(rows: pd.DataFrame, facts: StudyFacts) -> set[int]:
    """Blocks 1 to n - 1 in which both vectors of one model separate trajectories that they weren't made of.

    Elsewhere a vector is the noise of its means, and the cosine of two can be anything: where one direction that has to
    do with no tile varies most, near -1. Both concepts need an AUROC above 0.5, and the 95 % interval of Cohen's d
    above 0, widened for the number of blocks.

    Args:
        rows: of one model, those of `read_vectors`.
        facts: of the study: how many of its trajectories are held out.
    """
    inner = rows[(rows["block"] > 0) & (rows["block"] < rows["block"].max())]
    n, clear = ConceptsSection(**facts.config["concepts"]).n_held_out, []
    level = 1 - 0.05 / max(int(inner["block"].nunique()), 1)
    for concept in CONCEPTS:
        mine = inner[inner["concept"] == concept]
        lows = [cohen_d_interval(float(d), n, 2 * n, level)[0] for d in mine["cohen_d"]]
        clear.append({int(block) for block in mine["block"][(mine["auroc"] > 0.5) & (np.array(lows) > 0)]})
    return set.intersection(*clear)


@dataclass(frozen=True)
class Passed:
    """A model that the first training passed through."""

    step: int
    points: float
    """Mean return in the steps before it."""
    d: float
    """The smaller one of both concepts' largest Cohen's d over blocks."""
    least: float
    """Least cosine of both vectors in blocks where both tiles are told apart; NaN where there is none."""


def read_passed(reader: Reader, facts: StudyFacts, progress: pd.DataFrame, training: Training) -> list[Passed]:
    """The checkpoints of a training in their order, the naive model before them at step 0, the trained one after them.

    Args:
        reader: of the study.
        facts: of the study.
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
    last = int(returns.index.max())
    models = [(0, of_model(vectors, naive_of(training)), cosines(angles, naive_of(training)))]
    for step in steps:
        at = angles[(angles["training"] == training.name) & (angles["step"] == step) & (angles["pair"] == "plain")]
        mine = vectors[(vectors["training"] == training.name) & (vectors["step"] == step)]
        models.append((step, mine, at.set_index("block")["cosine"].sort_index()))
    if last > steps[-1]:  # the trained model's vectors are its own, not a checkpoint's
        trained = Owner(training, training.variant)
        models.append((last, of_model(vectors, trained), cosines(angles, trained)))
    found, before = [], 0
    for step, mine, by_block in models:
        near = returns[(returns.index > before) & (returns.index <= step)] if step else returns.head(1)
        one = _passed(step, near, mine, apart(by_block, told_apart(mine, facts)))
        found += [one] if one is not None else []
        before = step
    return found


def _passed(step: int, near: pd.Series[float], rows: pd.DataFrame, least: Apart | None) -> Passed | None:
    if rows.empty:
        return None
    inner = rows[(rows["block"] > 0) & (rows["block"] < rows["block"].max())]
    largest = [float(inner.loc[inner["concept"] == concept, "cohen_d"].max()) for concept in CONCEPTS]
    points = float(near.mean()) if len(near) else float("nan")
    return Passed(step, points, float(np.min(largest)), float("nan") if least is None else least.least)
