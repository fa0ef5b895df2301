"""Which latents are changed, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from jobs.sections.base import Section, at_default


class InterventionSection(Section):
    """One run, or one pass over what is read, with latents changed before each choice."""

    name: str
    """How the study, the views and the report call it."""
    sae: str
    """Name of the autoencoder whose latents are changed."""
    signal: str = "td_error"
    """Latents are chosen by how they follow this signal on the selection half of the rollouts: by r, or, if it has a
    value for every state (sr_error), by the highest r over states, averaged over rollouts."""
    rank_by: Literal["r", "r_partial"] = "r"
    """Choose by signed r, as the paper does, or by the partial correlation; both on the selection half."""
    latents: int = Field(1, ge=1)
    """How many latents of each block."""
    block: Literal["best"] | int = "best"
    """The block with the strongest latent, or a given one. Best leaves out the last block, after which an edit can
    change nothing but the choice itself, where there are enough others."""
    blocks: int = Field(1, ge=1)
    """How many blocks are edited together: those with the strongest latents."""
    from_block: PositiveInt | Annotated[float, Field(gt=0, lt=1)] | None = None
    """Best looks from this block on or, below 1, from this share of the model's blocks on."""
    min_r: float | None = Field(None, gt=0, le=1)
    """Least r of every latent chosen, as ``rank_by`` counts it; the study fails where there aren't enough such."""
    decisions: tuple[NonNegativeInt, NonNegativeInt] | None = None
    """First and last decision, counted from 0, before which latents are changed; all if left out."""
    operation: Literal["zero", "clamp", "multiply", "mean"] = "zero"
    """What happens to the latents' values."""
    value: float | None = None
    """The value for clamp and multiply."""
    control: Literal["none", "lowest", "matched", "step_matched", "random_direction", "td_minus_q"] = "none"
    """Instead of the chosen latents: those correlated least; those of like firing rate and size; those that follow the
    step as closely, and given the covariates hardly the signal; a random direction of equal norm; the best ones that
    follow no Q-value more closely than the target. All in the blocks of the chosen ones."""
    draw: int = Field(0, ge=0)
    """Which random direction, or which matched set (the best, the next best, …): an interval over rollouts doesn't
    cover the choice of a control."""

    @model_validator(mode="after")
    def _value_where_needed(self) -> InterventionSection:
        if (self.operation in ("clamp", "multiply")) != (self.value is not None):
            raise ValueError(f"operation {self.operation!r} {'needs' if self.value is None else 'takes no'} value")
        if self.block != "best" and (self.blocks > 1 or self.from_block is not None):
            raise ValueError(f"block {self.block} is given, so blocks and from_block have nothing to choose")
        if self.decisions is not None and self.decisions[0] > self.decisions[1]:
            raise ValueError(f"decisions {list(self.decisions)}: the first comes after the last")
        return self

    @property
    def edited(self) -> range | None:
        """The decisions before which latents are changed; None for all."""
        return None if self.decisions is None else range(self.decisions[0], self.decisions[1] + 1)

    def config(self) -> dict[str, Any]:
        """What decides the result. Settings that came later are left out at their defaults: identities stay."""
        return self.model_dump(mode="json", exclude=at_default(self, "blocks", "from_block", "min_r", "decisions"))
