"""Every intervention beside its controls: what each did to predictions."""

from __future__ import annotations

from jobs.report.drawing import Drawing
from jobs.report.forest import draw_forest
from jobs.report.reader import Reader, StudyFacts

NAME = "controls"
TITLE = "Every intervention and its controls"
OVERLAY = "none: the paper reports no control lesion and no intervals here"

METRICS = (
    ("accuracy", "nodes\nforetold", "share of decisions"),
    ("log_p_chosen", "log p of the\nnext node", "nats a decision"),
    ("neighbour_mass", "p of the four\nneighbours", "probability"),
    ("choice_shift", "shift of the\nprobabilities", "total variation"),
)
NOTE = (
    "Accuracy looks at the most probable node only; the probability of the four neighbours together tells whether the "
    "model still knows the graph. All probabilities are those among the walk's fifteen words. The shift (total "
    "variation) can't be negative."
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A forest plot: the change in each metric with its interval."""
    return draw_forest(reader, facts, METRICS, NOTE)
