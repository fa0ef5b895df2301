"""Every intervention beside its controls: what each did to behaviour."""

from __future__ import annotations

from jobs.report.drawing import Drawing
from jobs.report.forest import draw_forest
from jobs.report.reader import Reader, StudyFacts

NAME = "controls"
TITLE = "Every intervention and its controls"
OVERLAY = "none: the paper reports one control lesion and no intervals"

METRICS = (
    ("return", "return of own\nepisodes", "points an episode"),
    ("p_greedy", "p of the action of\nhighest Q-value", "probability"),
    ("choice_shift", "shift of the choice\nprobabilities", "total variation"),
    ("nll_q", "NLL under\nQ-learning", "nats, all choices"),
)
NOTE = (
    "The shift of choice probabilities (total variation) is measured on the intact model's own texts and can't be "
    "negative."
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A forest plot: the change in each metric with its interval."""
    return draw_forest(reader, facts, METRICS, NOTE)
