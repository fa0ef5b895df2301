"""Fig 8: how many latents of each autoencoder vary in the Grid World."""

from __future__ import annotations

from jobs.report.drawing import Drawing
from jobs.report.latents_in_use import draw_latents
from jobs.report.reader import Reader, StudyFacts

NAME = "fig8_latents"
TITLE = "Fig 8 · Latents in use"
OVERLAY = (
    "Fig 8 of the paper, Grid World (its 'L0' counts latents of non-zero variance); explained variance: unpublished"
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Varying latents by relative depth, and explained variance."""
    return draw_latents(reader, facts, "L0_grid", 16_384, "Figs 4B, 4C")
