"""How well a model foretells what another did: the probability it gave to what came, decision by decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval

NO_LESION = "none"
BINS = 16
"""Parts of a rollout over which curves are averaged: 20 of 320 decisions each, as the published numbers are."""
LATE_FROM = 5 / 8
"""Share of the rollout after which the paper's late means begin: decision 200 of 320."""
LAST_FROM = 15 / 16
"""Share after which its last bin begins: decision 300 of 320."""


@dataclass(frozen=True)
class Predictions:
    """Mean probability of what came, by variant, intervention, rollout and part of the rollout.

    Attributes:
        rows: columns variant, intervention, rollout_index, first (the part's first decision), p.
        decisions: how many decisions a rollout has.
        width: decisions of one part.
    """

    rows: pd.DataFrame
    decisions: int
    width: int

    def of(self, variant: str, intervention: str = NO_LESION) -> pd.DataFrame:
        """Mean over rollouts and half the 95 % interval, by the part's first decision."""
        table = self._table(variant, intervention)
        return pd.DataFrame({"mean": table.mean(), "half": half_width(table), "n": table.count()})

    def difference(self, first: tuple[str, str], second: tuple[str, str]) -> pd.DataFrame:
        """The same of one (variant, intervention) minus another, paired by rollout."""
        table = self._table(*first) - self._table(*second)
        return pd.DataFrame({"mean": table.mean(), "half": half_width(table), "n": table.count()})

    def mean(self, variant: str, intervention: str = NO_LESION, share: float = LATE_FROM) -> Interval | None:
        """Mean over rollouts of each one's mean after a share of its decisions."""
        return mean_interval(self._after(variant, intervention, share).tolist())

    def change(self, first: tuple[str, str], second: tuple[str, str], share: float = LATE_FROM) -> Interval | None:
        """Mean of the paired difference after a share of the decisions."""
        return mean_interval((self._after(*first, share) - self._after(*second, share)).tolist())

    def has(self, variant: str, intervention: str = NO_LESION) -> bool:
        """Whether the model read this variant, under this intervention."""
        return bool(((self.rows["variant"] == variant) & (self.rows["intervention"] == intervention)).any())

    @property
    def late_from(self) -> int:
        """The first decision that late means are about."""
        firsts = self.rows["first"]
        return int(firsts[firsts >= LATE_FROM * self.decisions].min())

    def learned(self, variant: str) -> Interval | None:
        """Mean over rollouts of the last part's mean minus the first part's."""
        table = self._table(variant, NO_LESION)
        last = table.columns.to_numpy() >= LAST_FROM * self.decisions
        return mean_interval((table.loc[:, last].mean(axis=1) - table.iloc[:, 0]).tolist())

    def n_rollouts(self, variant: str) -> int:
        """Rollouts read of a variant."""
        return int(self.rows.loc[self.rows["variant"] == variant, "rollout_index"].nunique())

    def _table(self, variant: str, intervention: str) -> pd.DataFrame:
        here = self.rows[(self.rows["variant"] == variant) & (self.rows["intervention"] == intervention)]
        return here.pivot_table(index="rollout_index", columns="first", values="p")

    def _after(self, variant: str, intervention: str, share: float) -> pd.Series[float]:
        table = self._table(variant, intervention)
        late: pd.Series[float] = table.loc[:, table.columns.to_numpy() >= share * self.decisions].mean(axis=1)
        return late


def read_predictions(reader: Reader, facts: StudyFacts, bins: int = BINS) -> Predictions:
    """Everything that the model read, in so many parts of a rollout.

    Raises:
        NotRecorded: it has read nothing.
    """
    longest = reader.rows(
        "SELECT max(step) + 1 AS decisions FROM v_step WHERE study = :study AND model = :model", model=facts.model
    )
    if not longest or longest[0]["decisions"] is None:
        raise NotRecorded("predictions of the model")
    decisions = int(longest[0]["decisions"])
    width = max(1, decisions // bins)
    rows = reader.ask(
        """
        SELECT variant, intervention, rollout_index, step / :width * :width AS first, avg(p_chosen) AS p
        FROM v_step
        WHERE study = :study AND model = :model AND p_chosen IS NOT NULL
        GROUP BY variant, intervention, rollout_index, step / :width
        ORDER BY variant, intervention, rollout_index, first
        """,
        model=facts.model,
        width=width,
    )
    return Predictions(rows, decisions, width)


def late_change(found: Predictions, variant: str, intervention: str) -> Interval | None:
    """Late change of the probability under an intervention, paired by rollout; None where it wasn't read."""
    if not found.has(variant, intervention):
        return None
    return found.change((variant, intervention), (variant, NO_LESION))


def in_parts(steps: ArrayLike, values: ArrayLike, width: int) -> pd.Series[float]:
    """A published curve averaged over parts of as many decisions, by the part's first decision."""
    first = np.asarray(steps).astype(int) // width * width
    return pd.Series(np.asarray(values, dtype=float)).groupby(first).mean()


def half_width(table: pd.DataFrame) -> pd.Series[float]:
    """Half of Student's 95 % interval of each column's mean over rollouts."""
    n = table.count()
    half: pd.Series[float] = table.sem() * stats.t.ppf(0.975, (n - 1).clip(lower=1))
    return half
