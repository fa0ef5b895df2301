"""Measures of whole blocks: how closely each follows a signal, with its interval and its null."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from jobs.report.prediction import NO_LESION
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, Null
from tdlens.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION

STREAM, UNTRAINED, SAE = "stream", "untrained", "sae"

RIVALS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("raw", "raw dimensions", ORANGE, {}),
    ("pca", "principal components", GREEN, {}),
    (UNTRAINED, "untrained model, raw", PURPLE, {}),
    ("shuffled", "other rollouts' signals", GREY, {"linestyle": ":"}),
)
"""What the latents of an autoencoder are compared with."""

NODES = "node and last node too"
"""What ``max_r_given_states`` holds constant beside the covariates."""


def read_measures(
    reader: Reader, facts: StudyFacts, measures: tuple[str, ...], signals: tuple[str, ...]
) -> pd.DataFrame:
    """Values by source, measure, signal, intervention and block, of the first autoencoder where there is one.

    Raises:
        NotRecorded: there is none.
    """
    rows = reader.ask(
        """
        SELECT source, measure, signal, intervention, block, value, ci_low, ci_high, null_mean, null_threshold,
               n_rollouts
        FROM v_block_measure
        WHERE study = :study AND measure IN :measures AND signal IN :signals AND (sae IS NULL OR sae = :sae)
        ORDER BY source, measure, signal, intervention, block
        """,
        measures=measures,
        signals=signals,
        sae=facts.sae,
    )
    if rows.empty:
        raise NotRecorded(f"blocks' {' and '.join(measures)} with {', '.join(signals)}".replace("_", " "))
    numbers = ["value", "ci_low", "ci_high", "null_mean", "null_threshold"]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    return rows


def of(rows: pd.DataFrame, measure: str, signal: str, source: str = SAE, intervention: str = NO_LESION) -> pd.DataFrame:
    """One curve over blocks; rows where it is defined."""
    chosen = rows[
        (rows["source"] == source)
        & (rows["measure"] == measure)
        & (rows["signal"] == signal)
        & (rows["intervention"] == intervention)
    ]
    return chosen.dropna(subset=["value"]).set_index("block")


def highest_of(rows: pd.DataFrame, measure: str, signal: str, source: str = SAE) -> Interval | None:
    """The highest value over blocks with its interval; None where there is none."""
    curve = of(rows, measure, signal, source)
    if curve.empty:
        return None
    best = curve.iloc[curve["value"].to_numpy().argmax()]
    return Interval(float(best["value"]), float(best["ci_low"]), float(best["ci_high"]))


def block_of_highest(rows: pd.DataFrame, measure: str, signal: str, source: str = SAE) -> int | None:
    """Where that is."""
    curve = of(rows, measure, signal, source)
    return None if curve.empty else int(curve.index.to_numpy()[curve["value"].to_numpy().argmax()])


def null_of_highest(rows: pd.DataFrame, measure: str, signal: str, source: str = SAE) -> Null | None:
    """The null of the block where that is, at the study's family-wise rate over all blocks."""
    curve = of(rows, measure, signal, source)
    if curve.empty:
        return None
    best = curve.iloc[curve["value"].to_numpy().argmax()]
    return Null(float(best["null_mean"]), float(best["null_threshold"]))


def line(ax: Axes, curve: pd.DataFrame, facts: StudyFacts, label: str, colour: str, **style: Any) -> None:
    """A curve over relative depth with its 95 % interval over rollouts; nothing where there is none."""
    if curve.empty:
        return
    depth = curve.index / facts.n_blocks
    ax.plot(depth, curve["value"], **{"color": colour, "marker": "o", "label": label, **style})
    ax.fill_between(depth, curve["ci_low"], curve["ci_high"], color=colour, alpha=0.14, linewidth=0)


def draw_null(ax: Axes, curve: pd.DataFrame, facts: StudyFacts) -> None:
    """The area below the family-wise threshold of the null."""
    limit = curve["null_threshold"].dropna()
    if len(limit):
        label = "below family-wise threshold\nof permuted rollouts"
        ax.fill_between(limit.index / facts.n_blocks, 0, limit, color="#ECEEF1", linewidth=0, label=label)


def draw_beside_rivals(ax: Axes, rows: pd.DataFrame, signal: str, facts: StudyFacts, other: tuple[str, str]) -> None:
    """Largest r of latents with a signal, beside everything that could do as well.

    Args:
        other: another signal that would explain it, and what it is called.
    """
    own = of(rows, "max_r", signal)
    draw_null(ax, own, facts)
    for source, label, colour, style in RIVALS:
        line(ax, of(rows, "max_r", signal, source), facts, label, colour, **{"linewidth": 1.1, "marker": ".", **style})
    line(ax, of(rows, "max_r", other[0]), facts, f"SAE, {other[1]}", VERMILION, linewidth=1.1, linestyle="--")
    line(ax, own, facts, "SAE latents", BLUE)
    for measure, given, dashes in (("max_r_partial", facts.covariates, "-"), ("max_r_given_states", [NODES], ":")):
        label = f"SAE, given {', '.join(given)}".replace("_", " ")
        line(ax, of(rows, measure, signal), facts, label, BLUE, linewidth=1, markerfacecolor="white", linestyle=dashes)
