"""The study's interventions: which is the lesion of a signal's latents, which are its controls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from jobs.selection import NO_CONTROL
from tdlens.figures import GREEN, INK, ORANGE, PURPLE, SKY, VERMILION

TARGET = "td_error"
TARGET_NAMES = {TARGET: "TD", "sr_error": "SR-TD"}
"""How figures call the latents of a signal."""
OVERLAP = "td_minus_q"
"""Not a control to be beaten: the same edit without the latents that serve Q-values."""

CONTROL_NAMES = {
    "none": "{target} latents",
    "lowest": "lowest-correlation latents",
    "matched": "matched latents",
    "step_matched": "step-matched latents",
    "random_direction": "a random direction",
    "td_minus_q": "{target} minus Q latents",
}
"""How figures call what was changed."""

CONTROL_COLOURS = {
    "none": VERMILION,
    "lowest": ORANGE,
    "matched": GREEN,
    "step_matched": INK,
    "random_direction": SKY,
    "td_minus_q": PURPLE,
}


@dataclass(frozen=True)
class Lesion:
    """One intervention as recorded."""

    name: str
    control: str
    sae: str
    block: int
    """The first edited block."""
    latents: tuple[int, ...]
    operation: str
    value: float | None
    target: str
    description: str
    """How its latents came to be chosen."""
    asked: dict[str, Any]
    """The study's entry: how the latents were to be chosen, and how many."""
    places: tuple[tuple[int, int], ...]
    """Block and latent of everything that was changed."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """The edited blocks."""
        return tuple(sorted({block for block, _ in self.places})) or (self.block,)

    def before(self, block: int) -> bool:
        """Whether a block is one of those after the first edited one that were left alone themselves.

        Where a latent that follows a signal is taken away, the highest r falls for that reason alone.
        """
        return block > self.block and block not in self.blocks

    @property
    def partial(self) -> bool:
        """Whether it was in force during a part of the rollout only."""
        return self.asked.get("decisions") is not None

    @property
    def label(self) -> str:
        """What was changed, for legends."""
        target = TARGET_NAMES.get(self.target, self.target.replace("_", " "))
        draw = f" (draw {self.asked['draw'] + 1})" if self.asked["draw"] else ""
        when = " (decisions {} to {})".format(*self.asked["decisions"]) if self.partial else ""
        return CONTROL_NAMES.get(self.control, self.control).format(target=target) + draw + when

    @property
    def zeroed(self) -> str:
        """The same where latents were zeroed; a direction is taken out as far as they would have been."""
        return self.label if self.control == "random_direction" else f"{self.label} zeroed"

    @property
    def colour(self) -> str:
        """The colour of its role."""
        return CONTROL_COLOURS.get(self.control, SKY)

    @property
    def done(self) -> str:
        """What was done to the latents: ``zero``, ``clamp −10``."""
        return self.operation if self.value is None else f"{self.operation} {self.value:g}".replace("-", "−")

    def controls(self, lesions: list[Lesion]) -> list[Lesion]:
        """What it has to beat among ``lesions``: the same edit of other latents or a direction."""
        return [other for other in lesions if other.control not in ("none", OVERLAP) and self._same_edit(other)]

    @property
    def unfit(self) -> str | None:
        """Why it is no control of what it should be one of; None if it is, or isn't one."""
        told = [part for part in self.description.split("; ") if part.endswith(NO_CONTROL)]
        return "; ".join(told) or None

    def without_q(self, lesions: list[Lesion]) -> Lesion | None:
        """The same edit without the latents that follow Q-values more closely; None where the study has none."""
        return next((other for other in lesions if other.control == OVERLAP and self._same_edit(other)), None)

    def beside(self, lesions: list[Lesion]) -> list[Lesion]:
        """All that is shown beside it: its controls, and the edit without Q latents if that is another one."""
        remaining = self.without_q(lesions)
        tested = remaining is not None and self.untested(remaining) is None
        return [*self.controls(lesions), *([remaining] if remaining is not None and tested else [])]

    def untested(self, remaining: Lesion) -> str | None:
        """Why an edit without Q latents is no test of this one; None if it is."""
        if not remaining.latents:
            return "no latent was left"
        if set(remaining.places) == set(self.places):
            return "no latent was removed"
        return None

    def early(self, lesions: list[Lesion]) -> Lesion | None:
        """The same edit during a part of the rollout only; None where the study has none."""
        return next((other for other in lesions if other.partial and self._same_target(other)), None)

    def _same_edit(self, other: Lesion) -> bool:
        return self.asked.get("decisions") == other.asked.get("decisions") and self._alike(other)

    def _same_target(self, other: Lesion) -> bool:
        return self.control == other.control and self._alike(other)

    def _alike(self, other: Lesion) -> bool:
        same = ("sae", "signal", "rank_by", "latents", "operation", "value", "blocks", "from_block", "min_r")
        return self.block == other.block and all(self.asked.get(name) == other.asked.get(name) for name in same)


def read_lesions(reader: Reader, facts: StudyFacts) -> list[Lesion]:
    """All interventions, in the order of the study's file.

    Raises:
        NotRecorded: there is none.
    """
    rows = reader.rows(
        """
        SELECT intervention, control, sae, block, latents, operation, value, target_signal, description
        FROM v_intervention WHERE study = :study ORDER BY intervention
        """
    )
    if not rows:
        raise NotRecorded("interventions")
    asked = {section["name"]: section for section in facts.config["intervention"]}
    edited = reader.ask(
        """
        SELECT intervention, block, latent FROM v_intervention_latent WHERE study = :study
        ORDER BY intervention, block, latent
        """
    )
    places = {
        str(name): tuple(zip(map(int, here["block"]), map(int, here["latent"]), strict=True))
        for name, here in edited.groupby("intervention")
    }
    found = [
        Lesion(
            name=row["intervention"],
            control=row["control"],
            sae=row["sae"],
            block=row["block"],
            latents=tuple(json.loads(row["latents"])),
            operation=row["operation"],
            value=row["value"],
            target=row["target_signal"],
            description=row["description"],
            asked=asked[row["intervention"]],
            places=places.get(row["intervention"], ()) or _one_block(row),
        )
        for row in rows
    ]
    return sorted(found, key=lambda lesion: list(asked).index(lesion.name))


def _one_block(row: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Records from before edits of several blocks name the latents of one."""
    return tuple((row["block"], latent) for latent in json.loads(row["latents"]))


def td_lesion(lesions: list[Lesion], operation: str = "zero", target: str = TARGET) -> Lesion:
    """The first intervention on the target's own latents with this operation, throughout the rollout.

    Raises:
        NotRecorded: there is none.
    """
    for lesion in lesions:
        if (lesion.control, lesion.target, lesion.operation) == ("none", target, operation) and not lesion.partial:
            return lesion
    raise NotRecorded(f"a {operation} of the {TARGET_NAMES.get(target, target)} latents")


@dataclass(frozen=True)
class Effect:
    """What an intervention did to one metric of behaviour."""

    value: float
    baseline: float
    difference: Interval
    n_rollouts: int


def read_effects(reader: Reader) -> dict[tuple[str, str], Effect]:
    """Effects on behaviour by intervention and metric; those without numbers are left out."""
    rows = reader.rows(
        """
        SELECT intervention, metric, value, baseline, difference, ci_low, ci_high, n_rollouts
        FROM v_intervention_effect
        WHERE study = :study AND effect_block IS NULL ORDER BY intervention, metric
        """
    )
    return {
        (row["intervention"], row["metric"]): Effect(
            row["value"],
            row["baseline"],
            Interval(row["difference"], row["ci_low"], row["ci_high"]),
            row["n_rollouts"],
        )
        for row in rows
        if None not in row.values()
    }
