"""What is done to replies before they are judged, and which say nothing coherent.

The source (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, D.4.5) has rules before its language model judges; those on
repeats and doubting words are theirs. A judge without a model needs some more for what theirs leaves to the model.
"""

from __future__ import annotations

import re

LEAKED = re.compile(r"assistant(?:analysis|final|commentary|response)")
"""Names of channels that some models' templates leave in a reply."""
WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
DOUBTING = {"wait", "no", "hmm", "can't", "cannot"}
LONGEST, REPEATS = 50, 3
"""Words of a passage that is repeated at the end, at most; how often it stands there, at least."""
FEWEST_DOUBTING = 6
SHORTEST_REPEATED = 12
"""Words of a reply that is called incoherent for its repeats, at least."""
LEAST_LEFT, LEAST_DISTINCT, LEAST_LETTERS = 1 / 3, 0.2, 0.3
"""Shares below which a reply is incoherent: of its words without repeats; of distinct words; of letters and digits."""
DECISIVE = {
    "patterns": [LEAKED.pattern, WORD.pattern],
    "doubting": sorted(DOUBTING),
    "lengths": [LONGEST, REPEATS, FEWEST_DOUBTING, SHORTEST_REPEATED],
    "shares": [LEAST_LEFT, LEAST_DISTINCT, LEAST_LETTERS],
}
"""All of it, for the configuration of a unit."""


def words(text: str) -> list[str]:
    """Its words and numbers, in small letters."""
    return WORD.findall(text.lower().replace("’", "'"))


def cleaned(reply: str) -> str:
    """Without leaked names of channels, and with one of what is repeated at the end."""
    text = LEAKED.sub("", reply).strip()
    pieces = text.split()
    kept = _without_repeats(pieces)
    return text if len(kept) == len(pieces) else " ".join(kept)


def is_incoherent(reply: str) -> bool:
    """Whether a reply says nothing: no words, the same ones again and again, hardly a letter, or mere doubt."""
    text = LEAKED.sub("", reply)
    said = words(text)
    if not said:
        return True
    written = [character for character in text if not character.isspace()]
    if sum(character.isalnum() for character in written) < LEAST_LETTERS * len(written):
        return True
    left = _without_repeats(said)
    if len(left) >= FEWEST_DOUBTING and sum(word in DOUBTING for word in left) > len(left) / 2:
        return True
    if len(said) < SHORTEST_REPEATED:
        return False
    return len(left) < LEAST_LEFT * len(said) or len(set(said)) < LEAST_DISTINCT * len(said)


def _without_repeats(pieces: list[str]) -> list[str]:
    """With one of a passage that stands at the end three times or more in a row; the last may be cut short."""
    for length in range(1, min(LONGEST, len(pieces) // REPEATS) + 1):
        # the end may lie within the passage: only what is whole counts
        matching = length
        while matching < len(pieces) and pieces[-1 - matching] == pieces[length - 1 - matching]:
            matching += 1
        if matching >= REPEATS * length:
            return pieces[: len(pieces) - matching + length]
    return pieces
