"""Language models as players: a small interface for a forward pass with captures and edits, and its uses.

``base`` defines the interface, ``huggingface`` implements it, ``models`` finds and loads a model, ``tokens``
turns task text into tokens, ``play`` lets a model play or re-read games, ``edits`` holds the interventions.
"""

from jobs.inference.base import Edit, Engine, Forward, ModelDescription, TokenBatch
from jobs.inference.edits import DirectionEdit, LatentEdit, Operation
from jobs.inference.models import load_engine
from jobs.inference.play import Played, play, replay

__all__ = [
    "DirectionEdit",
    "Edit",
    "Engine",
    "Forward",
    "LatentEdit",
    "ModelDescription",
    "Operation",
    "Played",
    "TokenBatch",
    "load_engine",
    "play",
    "replay",
]
