"""What a headline number is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """One number that a paper reports."""

    study: str
    """The folder of the paper's curves."""
    name: str
    """Short key, unique within the study."""
    value: float
    """As published."""
    unit: str
    """What it counts."""
    source: str
    """Figure or text of the paper, or the author's result files; ``inferred``, ``recomputed`` where none states it."""
    description: str
    """One line."""
