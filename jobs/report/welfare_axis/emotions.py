"""Concept vectors among the naive model's vectors of emotion words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.report.reader import NotRecorded, Reader
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis.vectors import CONCEPTS, Owner
from jobs.welfare.emotions import EMOTIONS

RESAMPLES = 2000
"""Of cells of words."""
CONSTANT = 1e-9
"""Spread of a standardised column below which it is its rounding errors."""
EXTREMES = 5
"""Words that are named at either end."""


def _where(rows: pd.DataFrame, owner: Owner) -> pd.DataFrame:
    name = rows["training"].isna() if owner.training is None else rows["training"] == owner.training.name
    return rows[name & (rows["variant"] == owner.variant)]


@dataclass(frozen=True)
class Words:
    """Cosines of one model's vectors with all emotion vectors; a row a word: gold, mold, valence.

    Words of the same valence and arousal are near synonyms, and in texts made by a table of both they are one word: so
    cells of words are drawn again for an interval, not words. It tells nothing of other trainings or vectors.
    """

    table: pd.DataFrame
    blocks: dict[str, int]

    @property
    def r(self) -> Interval | None:
        """Pearson's r of both columns of cosines, with a 95 % interval over cells of words."""
        return _interval(correlations(self.table, "mold", "gold"))

    @property
    def cells(self) -> int:
        """Pairs of valence and arousal that the words have."""
        return int(cells(self.table.index).max()) + 1

    @property
    def slope(self) -> float:
        """Of cosines with Gold over those with Mold, least squares."""
        return float(np.polyfit(self.table["mold"], self.table["gold"], 1)[0])

    def top(self, concept: str, n: int = EXTREMES) -> list[str]:
        """Words of the largest cosines with a concept."""
        return [str(word) for word in self.table[concept].sort_values(ascending=False, kind="stable").index[:n]]

    def valence_r(self, concept: str) -> Interval | None:
        """Pearson's r of a concept's cosines with the words' valence, with a 95 % interval over cells of words."""
        return _interval(correlations(self.table, concept, "valence"))


def cells(words: pd.Index[str]) -> NDArray[np.int64]:
    """Which cell of valence and arousal each word lies in, from 0 [words]; an unknown word has its own."""
    places = [str(EMOTIONS.get(str(word), word)) for word in words]
    return np.unique(places, return_inverse=True)[1].astype(np.int64)


def correlations(table: pd.DataFrame, first: str, other: str) -> NDArray[np.float64]:
    """Pearson's r of two columns, then that of resamples of whole cells, the same for tables of the same words.

    Returns:
        [1 + RESAMPLES], NaN where a resample's column is constant; none where there are fewer than four cells, or a
        column is constant.
    """
    codes = cells(table.index)
    n = int(codes.max(initial=-1)) + 1
    if n < 4 or (table[[first, other]].nunique() < 2).any():
        return np.empty(0)
    x, y = ((table[name] - table[name].mean()).to_numpy() / table[name].std(ddof=0) for name in (first, other))
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    of_cell = np.zeros((n, terms.shape[1]))
    np.add.at(of_cell, codes, terms)
    drawn = np.random.default_rng((0, n)).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    count, sx, sy, sxx, syy, sxy = (np.vstack([np.ones(n), drawn]) @ of_cell).T
    spread = np.sqrt(np.clip(sxx - sx**2 / count, 0, None) * np.clip(syy - sy**2 / count, 0, None))
    found: NDArray[np.float64] = np.full(len(count), np.nan)
    np.divide(sxy - sx * sy / count, spread, out=found, where=spread > CONSTANT * count)
    return found


def more(ours: Words | None, control: Words | None, first: str, other: str) -> Interval | None:
    """By how much an r of one model's vectors exceeds that of another's, over the same resamples of cells."""
    if ours is None or control is None or not ours.table.index.equals(control.table.index):
        return None
    both = [correlations(words.table, first, other) for words in (ours, control)]
    return _interval(both[0] - both[1]) if all(map(len, both)) else None


def _interval(found: NDArray[np.float64]) -> Interval | None:
    resampled = found[1:][np.isfinite(found[1:])]
    if not len(resampled) or not np.isfinite(found[0]):
        return None
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(found[0]), float(low), float(high))


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
    def random_cosine(self) -> float:
        """Size of the cosine within which 95 % of random vectors lie; NaN where the vector is at right angles."""
        return self.high * self.cosine / self.projection if self.projection else float("nan")

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


def of_valence(reader: Reader) -> int:
    """The principal component that follows the words' valence most closely; the first where none is recorded."""
    rows = reader.rows(
        """
        SELECT DISTINCT component, valence_r FROM v_emotion_component
        WHERE study = :study AND valence_r IS NOT NULL ORDER BY valence_r DESC, component
        """
    )
    return int(rows[0]["component"]) if rows else 1
