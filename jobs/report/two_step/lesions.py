"""The study's interventions: which is the lesion of the TD latents, which are its controls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from tdlens.figures import GREEN, ORANGE, PURPLE, SKY, VERMILION

TARGET = "td_error"
OVERLAP = "td_minus_q"
"""Not a control to be beaten: the same edit without the latents that serve Q-values."""

CONTROL_NAMES = {
    "none": "{target} latents",
    "lowest": "lowest-correlation latents",
    "matched": "matched latents",
    "random_direction": "a random direction",
    "td_minus_q": "{target} minus Q latents",
}
"""How figures call what was changed."""

CONTROL_COLOURS = {
    "none": VERMILION,
    "lowest": ORANGE,
    "matched": GREEN,
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
    latents: tuple[int, ...]
    operation: str
    value: float | None
    target: str
    description: str
    """How its latents came to be chosen."""
    asked: dict[str, Any]
    """The study's entry: how the latents were to be chosen, and how many."""

    @property
    def label(self) -> str:
        """What was changed, for legends."""
        target = "TD" if self.target == TARGET else self.target.replace("_", " ")
        draw = f" (draw {self.asked['draw'] + 1})" if self.asked["draw"] else ""
        return CONTROL_NAMES.get(self.control, self.control).format(target=target) + draw

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
        if (remaining.block, set(remaining.latents)) == (self.block, set(self.latents)):
            return "no latent was removed"
        return None

    def _same_edit(self, other: Lesion) -> bool:
        same = ("sae", "signal", "rank_by", "latents", "operation", "value")
        return self.block == other.block and all(self.asked[name] == other.asked[name] for name in same)


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
        )
        for row in rows
    ]
    return sorted(found, key=lambda lesion: list(asked).index(lesion.name))


def td_lesion(lesions: list[Lesion], operation: str = "zero") -> Lesion:
    """The first intervention on the TD latents themselves with this operation.

    Raises:
        NotRecorded: there is none.
    """
    for lesion in lesions:
        if (lesion.control, lesion.target, lesion.operation) == ("none", TARGET, operation):
            return lesion
    raise NotRecorded(f"a {operation} of the TD latents")


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
