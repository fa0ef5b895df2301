"""Concept vectors among the naive model's vectors of emotion words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from jobs.report.reader import NotRecorded, Reader
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis.vectors import CONCEPTS, Owner

EXTREMES = 5
"""Words that are named at either end."""


def _where(rows: pd.DataFrame, owner: Owner) -> pd.DataFrame:
    name = rows["training"].isna() if owner.training is None else rows["training"] == owner.training.name
    return rows[name & (rows["variant"] == owner.variant)]


@dataclass(frozen=True)
class Words:
    """Cosines of one model's vectors with all emotion vectors; a row a word: gold, mold, valence."""

    table: pd.DataFrame
    blocks: dict[str, int]

    @property
    def r(self) -> Interval | None:
        """Pearson's r of both columns of cosines, with Fisher's 95 % interval over words."""
        if len(self.table) < 4 or (self.table[list(CONCEPTS)].nunique() < 2).any():
            return None
        found = stats.pearsonr(self.table["mold"], self.table["gold"])
        bounds = found.confidence_interval(0.95)
        return Interval(float(found.statistic), float(bounds.low), float(bounds.high))

    @property
    def slope(self) -> float:
        """Of cosines with Gold over those with Mold, least squares."""
        return float(np.polyfit(self.table["mold"], self.table["gold"], 1)[0])

    def top(self, concept: str, n: int = EXTREMES) -> list[str]:
        """Words of the largest cosines with a concept."""
        return [str(word) for word in self.table[concept].sort_values(ascending=False, kind="stable").index[:n]]

    def valence_r(self, concept: str) -> Interval | None:
        """Pearson's r of a concept's cosines with the words' valence, with Fisher's 95 % interval."""
        if len(self.table) < 4 or self.table["valence"].nunique() < 2:
            return None
        found = stats.pearsonr(self.table[concept], self.table["valence"])
        bounds = found.confidence_interval(0.95)
        return Interval(float(found.statistic), float(bounds.low), float(bounds.high))


def read_words(reader: Reader, owner: Owner) -> Words:
    """Of one model.

    Raises:
        NotRecorded: its vectors weren't compared with emotions.
    """
    rows = reader.ask(
        """
        SELECT training, variant, concept, emotion, block, cosine, valence FROM v_emotion_cosine
        WHERE study = :study ORDER BY training, variant, concept, emotion
        """
    )
    mine = _where(rows, owner)
    mine = mine[mine["concept"].isin(list(CONCEPTS))]
    if mine["concept"].nunique() < len(CONCEPTS):
        raise NotRecorded(f"cosines with emotion vectors of {owner.name} (stage emotions)")
    table = mine.pivot(index="emotion", columns="concept", values="cosine").astype(float)
    table["valence"] = mine.groupby("emotion")["valence"].first().astype(float)
    blocks = {str(concept): int(one["block"].iloc[0]) for concept, one in mine.groupby("concept")}
    return Words(table, blocks)


@dataclass(frozen=True)
class Component:
    """A concept vector's place on a principal component of the emotion vectors."""

    projection: float
    low: float
    high: float
    """Within which random vectors of the same norm lie."""
    cosine: float
    explained: float
    valence_r: float

    @property
    def beyond(self) -> int:
        """1 above the null, -1 below it, 0 within."""
        return int(self.projection > self.high) - int(self.projection < self.low)


def read_components(reader: Reader, owner: Owner, component: int = 1) -> dict[str, Component]:
    """By concept; empty where the model has none.

    Raises:
        NotRecorded: no principal components of emotion vectors.
    """
    rows = reader.ask(
        """
        SELECT training, variant, component, concept, block, explained, valence_r, projection, cosine, null_low,
            null_high
        FROM v_emotion_component WHERE study = :study ORDER BY training, variant, component, concept
        """
    )
    if rows.empty:
        raise NotRecorded("principal components of emotion vectors (stage emotions)")
    mine = _where(rows, owner)
    mine = mine[(mine["component"] == component) & mine["concept"].isin(list(CONCEPTS))]
    return {
        str(row["concept"]): Component(
            *(float(row[name]) for name in ("projection", "null_low", "null_high", "cosine", "explained", "valence_r"))
        )
        for row in mine.to_dict("records")
    }
