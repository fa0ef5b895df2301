"""Every intervention beside its controls: what each did to predictions."""

from __future__ import annotations

from jobs.report.drawing import Drawing
from jobs.report.forest import draw_forest
from jobs.report.reader import Reader, StudyFacts

NAME = "controls"
TITLE = "Every intervention and its controls"
OVERLAY = "none: the paper reports one control lesion and no intervals"

METRICS = (
    ("p_chosen", "p of the\nagent's action", "probability"),
    ("log_p_chosen", "log p of the\nagent's action", "nats a decision"),
    ("choice_shift", "shift of the action\nprobabilities", "total variation"),
)
NOTE = (
    "Changes are means over all decisions of a rollout, early ones included. The shift of the probabilities (total "
    "variation) can't be negative."
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A forest plot: the change in each metric with its interval."""
    return draw_forest(reader, facts, METRICS, NOTE)
