"""Which latents an intervention changes: the chosen ones, or those of one of its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.sections import InterventionSection
from sae.matching import Match, lowest_correlation, match_controls, nearest_controls
from tdlens.errors import UserError

CONTROL_MAX_R = 0.1
"""Matched controls follow every signal of a learner less closely than this, where enough such latents live."""
CANDIDATES = 1 / 3
"""Share of the block's live latents that may be controls; the bound on r is raised until there are as many, because
the few latents that follow nothing hardly ever fire and match nothing."""
CHANCE = {"r_selection": "r_chance_selection", "r_partial_selection": "r_partial_chance_selection"}
"""The column with what chance alone gives. Where a latent's r is the highest over states that is above 0, and the more
so the more the latent fires: without taking it off, the latents that follow a signal least are those nearly dead."""
STEP = "step"
"""The signal that ``step_matched`` controls follow as closely as their targets do."""
STEP_TOLERANCE = 0.15
"""Difference in |r| with the step up to which a control and its target follow it alike."""


NO_CONTROL = "no control for time"
"""What the description of ``step_matched`` latents says where they don't."""


@dataclass(frozen=True)
class Selection:
    """Latents of one block, and how they came to be chosen."""

    block: int
    latents: tuple[int, ...]
    description: str


def select(
    section: InterventionSection,
    table: pd.DataFrame,
    *,
    n_blocks: int,
    q_signals: Sequence[str],
    rl_signals: Sequence[str],
) -> list[Selection]:
    """Choose from the whole matrix of correlations, looking at the selection half of the rollouts only.

    Args:
        section: what the study asks for.
        table: live latents × signals with the columns block, latent, signal, r_selection, r_partial_selection,
            those of ``CHANCE``, frequency and rms.
        n_blocks: of the model.
        q_signals: signals that are values; ``td_minus_q`` drops latents that follow one of them more closely.
        rl_signals: all signals of learners; ``matched`` controls follow none of them closely.

    Returns:
        The latents of each block that is edited, from the first block on.

    Raises:
        UserError: fewer latents or blocks are alive than asked for, or a block wasn't captured.
    """
    column = "r_selection" if section.rank_by == "r" else "r_partial_selection"
    target = table[(table["signal"] == section.signal) & (table["frequency"] > 0)].dropna(subset=[column])
    target = _eligible(section, target, last=table["block"].max(), n_blocks=n_blocks)
    if target.empty:
        raise UserError(
            f"intervention {section.name}: no live latent of {section.sae} in block {section.block}.",
            "choose another block, or an autoencoder with more live latents",
        )
    strongest = target.groupby("block")[column].max().sort_values(ascending=False, kind="stable")
    if len(strongest) < section.blocks:
        raise UserError(
            f"intervention {section.name} asks for {section.blocks} blocks, but {section.sae} has live latents only in "
            f"{len(strongest)} of those to choose from: {', '.join(map(str, sorted(strongest.index)))}.",
            f"set intervention.{section.name}.blocks to at most {len(strongest)}, or from_block lower",
        )
    found = []
    for block in sorted(strongest.index[: section.blocks].tolist()):
        here = target[target["block"] == block].sort_values([column, "latent"], ascending=[False, True])
        found.append(_Block(section, block, column, here, table[table["block"] == block], _first(here, section)))
    _refuse_weak(section, found)
    return [block.select(q_signals, rl_signals) for block in found]


def blocks_from(first: int | float | None, blocks: Iterable[int], n_blocks: int) -> list[int]:
    """Those of some blocks from the first one on or, where it is below 1, from that share of all ``n_blocks`` on."""
    bound = first or 0
    return [block for block in blocks if block >= (bound if bound >= 1 else bound * n_blocks)]


def _eligible(section: InterventionSection, target: pd.DataFrame, *, last: int, n_blocks: int) -> pd.DataFrame:
    """The latents of the blocks among which the section lets choose."""
    if section.block != "best":
        return target[target["block"] == section.block]
    target = target[target["block"].isin(blocks_from(section.from_block, target["block"].unique(), n_blocks))]
    if target["block"].nunique() > section.blocks:
        return target[target["block"] < last]
    return target


def _refuse_weak(section: InterventionSection, found: Sequence[_Block]) -> None:
    """Raise if a chosen latent follows the signal less closely than the section wants."""
    weakest = {block.index: block.weakest for block in found}
    if section.min_r is not None and min(weakest.values()) < section.min_r:
        blocks = ", ".join(f"{r:.2f} in block {block}" for block, r in weakest.items())
        raise UserError(
            f"intervention {section.name}: {section.latents * section.blocks} latents with {found[0].column} of at "
            f"least {section.min_r:g} with {section.signal} are asked for; the weakest chosen have {blocks}.",
            f"set intervention.{section.name}.min_r lower or leave it out, or ask for fewer blocks or latents",
        )


@dataclass(frozen=True)
class _Block:
    """One edited block: its latents, and those that follow the signal best."""

    section: InterventionSection
    index: int
    column: str
    """What ranks the latents."""
    here: pd.DataFrame
    """The live latents with their correlation with the signal, best first."""
    table: pd.DataFrame
    """All correlations in the block."""
    chosen: tuple[int, ...]

    @property
    def weakest(self) -> float:
        """The lowest correlation among the chosen latents."""
        return float(self.here[self.column].iloc[len(self.chosen) - 1])

    def select(self, q_signals: Sequence[str], rl_signals: Sequence[str]) -> Selection:
        """The latents that are edited: the chosen ones or the control's."""
        signal, column = self.section.signal, self.column
        why = f"highest {column} with {signal} in block {self.index}"
        match self.section.control:
            case "none" | "random_direction":
                return Selection(self.index, self.chosen, why)
            case "lowest":
                r, live = _by_index(self.here, column), _by_index(self.here, "frequency") > 0
                latents = tuple(lowest_correlation(r, live, self.section.latents))
                return Selection(self.index, latents, f"lowest |{column}| with {signal} in block {self.index}")
            case "matched":
                return self._matched(self._closest(rl_signals, column))
            case "step_matched":
                return self._step_matched()
            case "td_minus_q":
                return self._without(q_signals, why)

    def _matched(self, follows: pd.Series[float]) -> Selection:
        """Controls like the chosen latents in firing rate and size, that follow no signal of a learner closely."""
        candidates = self.here.assign(follows=follows.reindex(self.here["latent"]).to_numpy())
        pairs = self._pairs(
            lambda n_sets: match_controls(
                self.chosen,
                frequency=_by_index(candidates, "frequency"),
                rms=_by_index(candidates, "rms"),
                r=_by_index(candidates, "follows"),
                max_abs_r=self._bound(follows),
                n_sets=n_sets,
            )
        )
        latents = tuple(pair.control for pair in pairs)
        distance = sum(pair.distance for pair in pairs) / len(pairs)
        return Selection(
            self.index,
            latents,
            f"firing rate and size like those of {list(self.chosen)} (mean distance {distance:.2f} in logarithms), "
            f"|r| with any signal of a learner at most {float(follows.loc[list(latents)].max()):.2f}",
        )

    def _step_matched(self) -> Selection:
        """Controls that follow the step as closely as the chosen latents, and given the covariates not the signal."""
        follows = self._closest([self.section.signal], "r_partial_selection")
        step = self._closest([STEP], "r_selection")
        both = pd.DataFrame({"latent": self.here["latent"].to_numpy()})
        both["follows"], both["step"] = (r.reindex(both["latent"]).to_numpy() for r in (follows, step))
        allowed = _by_index(both, "follows") <= self._bound(follows)
        pairs = self._pairs(
            lambda n_sets: nearest_controls(self.chosen, _by_index(both, "step")[:, None], allowed, n_sets=n_sets)
        )
        latents = tuple(pair.control for pair in pairs)
        followed = [", ".join(f"{step[latent]:.2f}" for latent in which) for which in (latents, self.chosen)]
        distance = max(pair.distance for pair in pairs)
        alike, verdict = (
            ("like", "") if distance <= STEP_TOLERANCE else ("unlike", f" by up to {distance:.2f}: {NO_CONTROL}")
        )
        return Selection(
            self.index,
            latents,
            f"|r| with the step {followed[0]}, {alike} {followed[1]} of {list(self.chosen)}{verdict}; "
            f"|r| with {self.section.signal} given the covariates at most {follows[list(latents)].max():.2f}",
        )

    def _without(self, q_signals: Sequence[str], why: str) -> Selection:
        """The best latents that follow no value more closely than the signal."""
        own = self.here.set_index("latent")[self.column].abs()
        q = self._closest(q_signals, self.column).reindex(own.index).fillna(0.0)
        left = self.here[self.here["latent"].isin(own.index[own >= q])]
        latents = tuple(int(latent) for latent in left["latent"].head(self.section.latents))
        removed = len(set(self.chosen) - set(latents))
        number = f"{removed} of {len(self.chosen)} removed" if removed else "none was removed"
        rest = f", {len(latents)} left" if len(latents) < self.section.latents else ""
        return Selection(
            self.index, latents, f"{why}, without latents that follow a Q-value more closely ({number}{rest})"
        )

    def _bound(self, follows: pd.Series[float]) -> float:
        """The |r| up to which a latent may be a control."""
        return max(CONTROL_MAX_R, float(follows.drop(labels=list(self.chosen), errors="ignore").quantile(CANDIDATES)))

    def _pairs(self, match: Callable[[int], list[list[Match]]]) -> list[Match]:
        """The set that the section draws; ``match(n)`` gives the n best."""
        try:
            return match(self.section.draw + 1)[self.section.draw]
        except ValueError as error:
            name = self.section.name
            raise UserError(
                f"intervention {name}: too few latents are alive in block {self.index} to match: {error}.",
                f"set intervention.{name}.latents to less, or leave this control out",
            ) from error

    def _closest(self, signals: Sequence[str], column: str) -> pd.Series[float]:
        """The highest |r| of each latent with any of the signals, less what chance gives, by latent."""
        wanted = self.table[self.table["signal"].isin(list(signals))]
        strength = (wanted[column] - wanted[CHANCE[column]]).abs()
        return wanted.assign(strength=strength).groupby("latent")["strength"].max()


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
