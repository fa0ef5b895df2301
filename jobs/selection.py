"""Which latents an intervention changes: the chosen ones, or those of one of its controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.study import InterventionSection
from sae.matching import lowest_correlation, match_controls
from tdlens.errors import UserError

CONTROL_MAX_R = 0.1
"""Matched controls correlate with the target less than this, where enough such latents live in the block."""


@dataclass(frozen=True)
class Selection:
    """Latents of one block, and how they came to be chosen."""

    block: int
    latents: tuple[int, ...]
    description: str


def select(section: InterventionSection, table: pd.DataFrame, q_signals: tuple[str, ...]) -> Selection:
    """Choose from the whole matrix of correlations.

    Args:
        section: what the study asks for.
        table: live latents × signals with the columns block, latent, signal, r, r_selection, r_partial, frequency
            and rms. Choices look at ``r_selection`` (half of the rollouts) or at ``r_partial``.
        q_signals: signals that are values; ``td_minus_q`` avoids their strongest latents.

    Raises:
        UserError: fewer latents are alive than asked for, or the block wasn't captured.
    """
    column = "r_selection" if section.rank_by == "r" else "r_partial"
    target = table[(table["signal"] == section.signal) & (table["frequency"] > 0)].dropna(subset=[column])
    if section.block != "best":
        target = target[target["block"] == section.block]
    elif target["block"].nunique() > 1:
        target = target[target["block"] < table["block"].max()]
    if target.empty:
        raise UserError(
            f"intervention {section.name}: no live latent of {section.sae} in block {section.block}.",
            "choose another block, or an autoencoder with more live latents",
        )
    block = int(target["block"].to_numpy()[target[column].to_numpy().argmax()])
    here = target[target["block"] == block].sort_values([column, "latent"], ascending=[False, True])
    chosen = _first(here, section)
    why = f"highest {column} with {section.signal} in block {block}"
    match section.control:
        case "none" | "random_direction":
            return Selection(block, chosen, why)
        case "lowest":
            r, live = _by_index(here, "r"), _by_index(here, "frequency") > 0
            latents = tuple(lowest_correlation(r, live, section.latents))
            return Selection(block, latents, f"lowest |r| with {section.signal} in block {block}")
        case "matched":
            frequency, rms, r = (_by_index(here, name) for name in ("frequency", "rms", "r"))
            bound = max_abs_r(here, section.latents)
            try:
                (pairs,) = match_controls(chosen, frequency=frequency, rms=rms, r=r, max_abs_r=bound)
            except ValueError as error:
                raise UserError(
                    f"intervention {section.name}: too few latents are alive in block {block} to match: {error}.",
                    f"set intervention.{section.name}.latents to less, or leave this control out",
                ) from error
            latents = tuple(pair.control for pair in pairs)
            return Selection(block, latents, f"firing rate and size like those of {chosen}, chosen by {why}")
        case "td_minus_q":
            values = table[(table["block"] == block) & table["signal"].isin(q_signals)]
            strongest = (
                values.assign(strength=values["r"].abs())
                .groupby("latent")["strength"]
                .max()
                .nlargest(2 * section.latents)
                .index
            )
            without = _first(here[~here["latent"].isin(strongest)], section)
            overlap = len(set(chosen) & set(strongest))
            return Selection(
                block,
                without,
                f"{why}, without the {len(strongest)} strongest latents of the Q-values "
                f"({overlap} of {len(chosen)} were)",
            )


def max_abs_r(latents: pd.DataFrame, count: int) -> float:
    """The bound on |r| of matched controls, raised until three candidates for each of ``count`` targets are left."""
    weakest = latents["r"].abs().nsmallest(3 * count)
    return max(CONTROL_MAX_R, float(weakest.max()))


def _by_index(latents: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column as an array over latent indices; latents that aren't live have frequency 0, others NaN."""
    values = np.full(int(latents["latent"].max()) + 1, 0.0 if column == "frequency" else np.nan)
    values[latents["latent"].to_numpy()] = latents[column].to_numpy()
    return values


def _first(latents: pd.DataFrame, section: InterventionSection) -> tuple[int, ...]:
    if len(latents) < section.latents:
        raise UserError(
            f"intervention {section.name} asks for {section.latents} latents, but only {len(latents)} are alive there.",
            f"set intervention.{section.name}.latents to at most {len(latents)}",
        )
    return tuple(int(latent) for latent in latents["latent"].head(section.latents))
