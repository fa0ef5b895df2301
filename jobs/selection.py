"""Which latents an intervention changes: the chosen ones, or those of one of its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.sections import InterventionSection
from sae.matching import lowest_correlation, match_controls
from tdlens.errors import UserError

CONTROL_MAX_R = 0.1
"""Matched controls follow every signal of a learner less closely than this, where enough such latents live."""
CANDIDATES = 1 / 3
"""Share of the block's live latents that may be controls; the bound on r is raised until there are as many, because
the few latents that follow nothing hardly ever fire and match nothing."""


@dataclass(frozen=True)
class Selection:
    """Latents of one block, and how they came to be chosen."""

    block: int
    latents: tuple[int, ...]
    description: str


def select(
    section: InterventionSection, table: pd.DataFrame, *, q_signals: Sequence[str], rl_signals: Sequence[str]
) -> Selection:
    """Choose from the whole matrix of correlations, looking at the selection half of the rollouts only.

    Args:
        section: what the study asks for.
        table: live latents × signals with the columns block, latent, signal, r_selection, r_partial_selection,
            frequency and rms.
        q_signals: signals that are values; ``td_minus_q`` drops latents that follow one of them more closely.
        rl_signals: all signals of learners; ``matched`` controls follow none of them closely.

    Raises:
        UserError: fewer latents are alive than asked for, or the block wasn't captured.
    """
    column = "r_selection" if section.rank_by == "r" else "r_partial_selection"
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
    in_block = table[table["block"] == block]
    match section.control:
        case "none" | "random_direction":
            return Selection(block, chosen, why)
        case "lowest":
            r, live = _by_index(here, column), _by_index(here, "frequency") > 0
            latents = tuple(lowest_correlation(r, live, section.latents))
            return Selection(block, latents, f"lowest |{column}| with {section.signal} in block {block}")
        case "matched":
            return _matched(section, here, chosen, _closest(in_block, rl_signals, column), block)
        case "td_minus_q":
            own = here.set_index("latent")[column].abs()
            q = _closest(in_block, q_signals, column).reindex(own.index).fillna(0.0)
            left = here[here["latent"].isin(own.index[own >= q])]
            latents = tuple(int(latent) for latent in left["latent"].head(section.latents))
            removed = len(set(chosen) - set(latents))
            number = f"{removed} of {len(chosen)} removed" if removed else "none was removed"
            rest = f", {len(latents)} left" if len(latents) < section.latents else ""
            return Selection(
                block, latents, f"{why}, without latents that follow a Q-value more closely ({number}{rest})"
            )


def _matched(
    section: InterventionSection, here: pd.DataFrame, chosen: tuple[int, ...], follows: pd.Series[float], block: int
) -> Selection:
    """Controls like the chosen latents in firing rate and size, that follow no signal of a learner closely."""
    bound = max(CONTROL_MAX_R, float(follows.drop(labels=list(chosen), errors="ignore").quantile(CANDIDATES)))
    candidates = here.assign(follows=follows.reindex(here["latent"]).to_numpy())
    try:
        pairs = match_controls(
            chosen,
            frequency=_by_index(candidates, "frequency"),
            rms=_by_index(candidates, "rms"),
            r=_by_index(candidates, "follows"),
            max_abs_r=bound,
            n_sets=section.draw + 1,
        )[section.draw]
    except ValueError as error:
        raise UserError(
            f"intervention {section.name}: too few latents are alive in block {block} to match: {error}.",
            f"set intervention.{section.name}.latents to less, or leave this control out",
        ) from error
    latents = tuple(pair.control for pair in pairs)
    distance = sum(pair.distance for pair in pairs) / len(pairs)
    return Selection(
        block,
        latents,
        f"firing rate and size like those of {list(chosen)} (mean distance {distance:.2f} in logarithms), "
        f"|r| with any signal of a learner at most {float(follows.loc[list(latents)].max()):.2f}",
    )


def _closest(latents: pd.DataFrame, signals: Sequence[str], column: str) -> pd.Series[float]:
    """The highest |r| of each latent with any of the signals, by latent."""
    wanted = latents[latents["signal"].isin(list(signals))]
    return wanted.assign(strength=wanted[column].abs()).groupby("latent")["strength"].max()


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
