"""The strongest features of each block, as the paper reports them and as honest selection gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval

Groups = Mapping[str, tuple[str, ...]]
"""What one curve shows, by name: the mean over these columns of each column's maximum."""

PAPER_BLOCKS = 80
"""Decoder blocks of Llama 3 70B: the published index divided by this is a relative depth."""


def signals_of(groups: Groups) -> tuple[str, ...]:
    """Every signal of any group, once."""
    return tuple(dict.fromkeys(signal for group in groups.values() for signal in group))


@dataclass(frozen=True)
class Feature:
    """A latent, dimension or component, chosen by its correlation on the selection half of the rollouts."""

    block: int
    latent: int
    signal: str
    r: Interval
    """Over all rollouts."""
    heldout: Interval
    """On the half that it was not chosen on."""
    partial: Interval
    """Given the covariates, over all rollouts."""
    partial_heldout: float
    p_familywise: float


def highest(reader: Reader, facts: StudyFacts, signals: tuple[str, ...]) -> pd.DataFrame:
    """Highest r per block over all rollouts: the statistic of the paper, for every source of features.

    SAE latents have a sign (the paper takes the maximum of signed r); dimensions and components have none, so for
    them it is the highest |r|. Columns: source (sae, raw, pca, shuffled, untrained), sae, block, signal, r.
    """
    rows = reader.ask(
        """
        SELECT c.source, c.model, c.sae, c.block, c.signal,
               CASE WHEN c.source IN ('sae', 'shuffled') THEN max(c.r) ELSE max(abs(c.r)) END AS r
        FROM v_correlation AS c
        WHERE c.study = :study AND c.signal IN :signals
        GROUP BY c.source, c.model, c.sae, c.block, c.signal ORDER BY c.source, c.model, c.sae, c.block, c.signal
        """,
        signals=signals,
    )
    return _sourced(rows, facts)


def selected(reader: Reader, facts: StudyFacts, signals: tuple[str, ...]) -> pd.DataFrame:
    """For every source, block and signal the feature that is best on one half of the rollouts.

    Its ``r_heldout`` is of the other half; for features without a sign both are taken in the direction chosen.
    """
    rows = reader.ask(
        """
        SELECT * FROM (
            SELECT source, model, sae, block, signal, latent, r_selection, r, ci_low, ci_high,
                   r_heldout, heldout_low, heldout_high, r_partial, partial_low, partial_high, r_partial_heldout,
                   p_familywise, n, n_rollouts,
                   row_number() OVER (
                       PARTITION BY source, model, sae, block, signal
                       ORDER BY CASE WHEN source IN ('sae', 'shuffled') THEN r_selection
                                     ELSE abs(r_selection) END DESC, latent
                   ) AS place
            FROM v_correlation
            WHERE study = :study AND signal IN :signals AND r_selection IS NOT NULL
        ) AS ranked
        WHERE place = 1 ORDER BY source, model, sae, block, signal
        """,
        signals=signals,
    )
    rows = _sourced(rows, facts)
    turned = ~rows["source"].isin(["sae", "shuffled"]) & (rows["r_selection"] < 0)
    rows.loc[turned, ["r", "r_selection", "r_heldout", "r_partial", "r_partial_heldout"]] *= -1
    for name in ("ci", "heldout", "partial"):
        low, high = f"{name}_low", f"{name}_high"
        rows.loc[turned, [low, high]] = -rows.loc[turned, [high, low]].to_numpy()
    return rows


def thresholds(reader: Reader, facts: StudyFacts, signals: tuple[str, ...]) -> pd.DataFrame:
    """The largest r that any latent of a block needs to be significant family-wise, and how many were tested.

    Columns: source, sae, block, signal, r_threshold, alpha and the sizes of the family.
    """
    rows = reader.ask(
        """
        SELECT source, model, sae, block, signal, n_latents, n_live, r_threshold, n, n_rollouts,
               family_size, n_permutations, alpha
        FROM v_coverage WHERE study = :study AND signal IN :signals ORDER BY source, model, sae, block, signal
        """,
        signals=signals,
    )
    return _sourced(rows, facts)


def by_block(
    rows: pd.DataFrame, column: str, source: str, signals: tuple[str, ...], sae: str | None = None
) -> pd.Series[float]:
    """Mean of a column over signals, by block; only blocks where every signal has a value."""
    chosen = rows[(rows["source"] == source) & rows["signal"].isin(signals)]
    if sae is not None:
        chosen = chosen[chosen["sae"] == sae]
    values = chosen.groupby("block")[column].agg(["mean", "count"])
    return values.loc[values["count"] == len(signals), "mean"]


def best(rows: pd.DataFrame, source: str, signal: str, sae: str | None = None) -> Feature | None:
    """The feature of highest selection-half r over all blocks, among those that ``selected`` gives."""
    chosen = rows[(rows["source"] == source) & (rows["signal"] == signal)]
    if sae is not None:
        chosen = chosen[chosen["sae"] == sae]
    if chosen.empty:
        return None
    row = chosen.sort_values("r_selection").iloc[-1]
    return Feature(
        block=int(row["block"]),
        latent=int(row["latent"]),
        signal=signal,
        r=_interval(row, "r", "ci"),
        heldout=_interval(row, "r_heldout", "heldout"),
        partial=_interval(row, "r_partial", "partial"),
        partial_heldout=_number(row["r_partial_heldout"]),
        p_familywise=_number(row["p_familywise"]),
    )


def threshold_of(rows: pd.DataFrame, feature: Feature, sae: str) -> float | None:
    """The largest family-wise threshold of the latents of a feature's block, for its signal."""
    here = rows[
        (rows["source"] == "sae")
        & (rows["sae"] == sae)
        & (rows["block"] == feature.block)
        & (rows["signal"] == feature.signal)
    ]["r_threshold"].dropna()
    return float(here.iloc[0]) if len(here) else None


def _sourced(rows: pd.DataFrame, facts: StudyFacts) -> pd.DataFrame:
    """Raw dimensions of any model but the one that plays are those of the untrained control."""
    if rows.empty:
        raise NotRecorded("correlations")
    rows.loc[(rows["source"] == "raw") & (rows["model"] != facts.model), "source"] = "untrained"
    numbers = [name for name in rows.columns if name not in ("source", "model", "sae", "signal")]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    return rows


def _interval(row: pd.Series[Any], value: str, bounds: str) -> Interval:
    return Interval(*(_number(row[name]) for name in (value, f"{bounds}_low", f"{bounds}_high")))


def _number(value: object) -> float:
    return float(value) if value is not None else float("nan")  # type: ignore[arg-type]
