"""Language models as players: a small interface for a forward pass with captures and edits, and its uses.

``base`` defines the interface, ``huggingface`` implements it, ``models`` finds and loads a model, ``tokens``
turns task text into tokens, ``play`` lets a model play or re-read games, ``edits`` holds the interventions.
"""
