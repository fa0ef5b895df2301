"""How circuits are searched for: by whom, how long, and against what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from jobs.sections.base import Distinct, Section


class SearchSection(Section):
    """Searches for the attention heads that a task needs (of studies whose task is head_ablation)."""

    tasks: Distinct[str] = Field(("induction", "ioi"), min_length=1)
    """Variants that policies are trained on; the others are held out."""
    pool: int = Field(48, ge=0)
    """Training episodes of each task that there are; policies meet them again and again, and none is evaluated on
    them. 0: a fresh one each time, as in the paper, with the model in the loop."""
    transitions: PositiveInt = 200_000
    """Heads ablated in a training."""
    best_of: Distinct[PositiveInt] = Field((1, 5), min_length=1)
    """Heads tried at each step of training, of which the best is executed; a policy for each of these, and seed."""
    seeds: PositiveInt = 3
    """Trainings of each kind; and how often the baselines that draw by chance are repeated."""
    evaluated_best_of: Distinct[PositiveInt] = Field((1, 5), min_length=1)
    """The same at evaluation. The paper evaluates with 1."""
    control_text: str = "generated"
    """What ablations should leave alone: text that tdlens generates, or a file of plain text."""
    compared: Distinct[Literal["value_bias", "zero", "mean", "resample"]] = ("mean", "zero", "resample")
    """Other ablations whose scores stand beside those of the study's own; mean is needed by a baseline."""
    compared_episodes: PositiveInt = 8
    """Evaluation episodes for which they are computed (mean: for all)."""
    paired: int = Field(12, ge=0)
    """So many heads of the largest direct effect on a task are ablated two by two: do twins hide each other?"""
    planted: bool = True
    """Whether the same searches also run on models whose circuit was written into their weights."""
