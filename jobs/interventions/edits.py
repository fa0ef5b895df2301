"""The edits of an intervention, on the latents that were selected for it."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.context import Context
from jobs.inference.base import Edit
from jobs.inference.edits import DirectionEdit, LatentEdit
from jobs.sections import InterventionSection
from jobs.selection import Selection
from jobs.stage import Unit
from jobs.stages.correlate import autoencoder_of
from jobs.stages.train_sae import shards_of
from sae.metrics import evaluate

DIRECTIONS = 1 << 48
"""Distance of the seeds from which the random directions of one intervention's blocks are drawn."""


def edits_of(context: Context, unit: Unit, section: InterventionSection, selections: Sequence[Selection]) -> list[Edit]:
    """The edit of each block, as the section describes it; none where no latent was left to select."""
    edits: list[Edit] = []
    for index, selection in enumerate(selections):
        if not selection.latents:
            continue
        edit = _latent_edit(context, unit, section, selection)
        if section.control == "random_direction":
            edits.append(DirectionEdit(edit, seed=unit.seed * 1000 + section.draw + index * DIRECTIONS))
        else:
            edits.append(edit)
    return edits


def trained_of(unit: Unit, block: int) -> Unit:
    """The unit that trained the autoencoder of a block."""
    return next(trained for trained in unit.parents_of("train_sae") if trained.config["block"] == block)


def _latent_edit(context: Context, unit: Unit, section: InterventionSection, selection: Selection) -> LatentEdit:
    trained = trained_of(unit, selection.block)
    sae = autoencoder_of(context, trained)
    means = None
    if section.operation == "mean":
        shards = shards_of(context, trained.parents_of("play"), selection.block)
        means = evaluate(sae, shards).latent_mean[list(selection.latents)].tolist()
    return LatentEdit(
        selection.block,
        sae.to(context.engine.device),
        selection.latents,
        section.operation,
        value=section.value,
        means=means,
    )
