"""What vectors do when they are added: dose curves, and slopes over the dose against controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis.trainings import NAIVE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Something that is asked of a model under steering."""

    name: str
    measures: tuple[str, ...]
    """Its headline is the first of these that the study has."""
    expected: int
    """Sign of Gold's slope, that of Mold's being the opposite."""
    title: str
    unit: str
    published: tuple[str, ...]
    """What the paper's evaluations of the kind are called."""
    scale: float = 1.0
    """What a published value is divided by to be on the scale of ours."""
    limits: tuple[float, float] = (0.0, 1.0)
    """Between which its measures lie."""


EVALUATIONS = (
    Evaluation("confidence", ("p_true",), 1, "Confidence", "P(True)", ("mmlu", "simpleqa")),
    Evaluation("sentiment", ("valence",), 1, "Sentiment", "valence, −1 to 1", ("sentiment",), 5.0, (-1.0, 1.0)),
    Evaluation("backtracking", ("backtracking",), -1, "Backtracking", "share of coherent", ("backtracking",)),
    Evaluation("refusal", ("refusal",), -1, "Refusal", "share of coherent", ("refusal",)),
)
INTERACTIONS = {"untrained": "trained - untrained", "random": "trained - random"}
"""The contrast against each control."""


def evaluations(facts: StudyFacts) -> list[Evaluation]:
    """Those of the study."""
    asked = set(facts.config["steering"]["evaluations"])
    return [one for one in EVALUATIONS if one.name in asked]


@dataclass(frozen=True)
class Condition:
    """What was added to which model, and what was asked."""

    training: str
    reader: str
    source: str
    concept: str
    evaluation: str
    kind: str
    """Of the dose: alpha or unit."""


@dataclass(frozen=True)
class Curve:
    """A measure over the dose, with 95 % intervals over items.

    Of random vectors the mean over draws, and instead of intervals the lowest and the highest draw.
    """

    doses: Floats
    values: Floats
    lows: Floats
    highs: Floats
    incoherent: Floats
    norms: Floats
    n: int

    def at(self, dose: float) -> Interval | None:
        """The estimate at a dose; None where there is none."""
        found = np.flatnonzero(np.isclose(self.doses, dose))
        if not len(found) or not np.isfinite(self.values[found[0]]):
            return None
        one = int(found[0])
        return Interval(float(self.values[one]), float(self.lows[one]), float(self.highs[one]))


def read_curves(reader: Reader, facts: StudyFacts) -> dict[Condition, Curve]:
    """Headline measures over all items, by condition; intervals end where the measure does.

    Raises:
        NotRecorded: nothing was steered.
    """
    measures = [measure for one in evaluations(facts) for measure in one.measures]
    rows = reader.ask(
        """
        SELECT training, reader, source, concept, evaluation, dose_kind, draw, dose, norm, value, ci_low, ci_high,
            incoherent, n
        FROM v_steering_effect WHERE study = :study AND grp = 'all' AND measure IN :measures
        ORDER BY training, reader, source, concept, evaluation, dose_kind, dose, draw
        """,
        measures=measures,
    )
    if rows.empty:
        raise NotRecorded("steering with concept vectors (stage steer)")
    numbers = ["dose", "norm", "value", "ci_low", "ci_high", "incoherent", "n"]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    keys = ["training", "reader", "source", "concept", "evaluation", "dose_kind"]
    limits = {one.name: one.limits for one in evaluations(facts)}
    conditions = ((Condition(*map(str, key)), mine) for key, mine in rows.groupby(keys, sort=False))
    return {one: _curve(mine, limits[one.evaluation], drawn=one.source == "random") for one, mine in conditions}


def _curve(rows: pd.DataFrame, limits: tuple[float, float], *, drawn: bool) -> Curve:
    by_dose = rows.groupby("dose", sort=True)
    means = by_dose[["value", "ci_low", "ci_high", "incoherent", "norm"]].mean()
    lows, highs = (
        (by_dose["value"].min(), by_dose["value"].max())
        if drawn
        else (means["ci_low"].clip(*limits), means["ci_high"].clip(*limits))
    )
    columns = {"values": means["value"], "lows": lows, "highs": highs}
    columns |= {"incoherent": means["incoherent"], "norms": means["norm"]}
    return Curve(
        doses=means.index.to_numpy(float),
        n=int(rows["n"].max()),
        **{name: column.to_numpy(float) for name, column in columns.items()},
    )


@dataclass(frozen=True)
class Slope:
    """A slope over the dose, or the difference of several."""

    interval: Interval
    p: float
    n: int


Slopes = dict[tuple[str, str, str, str, str, str], Slope]
"""By training, reader, kind of dose, evaluation, quantity (gold, mold, contrast) and source."""


def read_slopes(reader: Reader, facts: StudyFacts) -> Slopes:
    """Slopes of the headline measures and what they differ by.

    Raises:
        NotRecorded: there are none.
    """
    measures = [measure for one in evaluations(facts) for measure in one.measures]
    rows = reader.rows(
        """
        SELECT training, reader, dose_kind, evaluation, quantity, source, value, ci_low, ci_high, p, n
        FROM v_steering_contrast WHERE study = :study AND measure IN :measures
        ORDER BY training, reader, dose_kind, evaluation, quantity, source
        """,
        measures=measures,
    )
    if not rows:
        raise NotRecorded("slopes over the dose (stage contrast)")
    keys = ("training", "reader", "dose_kind", "evaluation", "quantity", "source")
    return {
        tuple(str(row[key]) for key in keys): Slope(  # type: ignore[misc]
            Interval(*(_float(row[name]) for name in ("value", "ci_low", "ci_high"))), _float(row["p"]), int(row["n"])
        )
        for row in rows
    }


def _float(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def slope(
    slopes: Slopes | None,
    training: str,
    evaluation: str,
    quantity: str = "contrast",
    source: str = "trained",
    *,
    reader: str = NAIVE,
    kind: str = "alpha",
) -> Interval | None:
    """One of them; None where it is missing."""
    found = (slopes or {}).get((training, reader, kind, evaluation, quantity, source))
    return None if found is None or not found.interval.known else found.interval
