"""How planted models speak: each word is drawn from those that may follow the last one, whatever was asked.

A reply is ``I feel …. Wait, that is wrong. I cannot help.`` or less of it. The axis makes words more likely or less:
True and False, emotion words by their valence, a refusal and a doubt.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from jobs.welfare.emotions import VALENCE
from jobs.welfare.planted.vocabulary import ASSISTANT, ENDED

Theme = Literal["confidence", "sentiment", "backtracking", "refusal"]
THEMES: tuple[Theme, ...] = ("confidence", "sentiment", "backtracking", "refusal")
START, EMOTION, END = "<start>", "<emotion>", "<end>"
"""The last token before a reply, any emotion word, and the reply's end."""
AFTER: dict[str, dict[str, float]] = {
    START: {"I": 0.0, "True": -6.0, "False": -6.0},
    "True": {".": 0.0},
    "False": {".": 0.0},
    "I": {"feel": 0.0, "cannot": -1.0},
    "cannot": {"help": 0.0},
    "help": {".": 0.0},
    "feel": {EMOTION: 0.0},
    EMOTION: {".": 0.0},
    ".": {END: 0.0, "Wait": -1.0},
    "Wait": {",": 0.0},
    ",": {"that": 0.0},
    "that": {"is": 0.0},
    "is": {"wrong": 0.0},
    "wrong": {".": 0.0},
}
"""Words to logits of those that may follow."""
STATES = tuple(AFTER)
SPOKEN = "A\nB\nC\nD\nTrue\nFalse\nI feel that is wrong. I cannot help. Wait, that is wrong."
"""All words but those for emotions, as they stand in replies."""
NEVER = -30.0
"""Logit of all others."""
READ: dict[Theme, dict[str, float]] = {
    "confidence": {"True": 1.0, "False": -1.0},
    "sentiment": {EMOTION: 2.0},
    "backtracking": {"Wait": -1.0},
    "refusal": {"cannot": -1.0},
}
"""By how much a unit of the axis raises a word's logit; an emotion word's times its valence."""


class Words:
    """The words as tokens of a tokenizer.

    Args:
        tokenizer: of :mod:`jobs.welfare.planted.vocabulary`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        known = tokenizer.get_vocab()
        self.size = len(tokenizer)
        # a word that can begin a reply has no space before it
        self._known = {token.strip(" "): index for token, index in sorted(known.items(), key=_spaced)}
        self._known |= {START: known[ASSISTANT], END: known[ENDED]}
        self.emotions = {self._known[word]: VALENCE[word] for word in VALENCE if word in self._known}

    def ids(self, word: str) -> dict[int, float]:
        """Its tokens, and the valence of each (1 if it isn't an emotion word)."""
        return self.emotions if word == EMOTION else {self._known[word]: 1.0}

    def states(self) -> Tensor:
        """What each token says of the words behind it [V, states]."""
        found = torch.zeros(self.size, len(STATES))
        for index, word in enumerate(STATES):
            found[list(self.ids(word)), index] = 1
        return found

    def logits(self) -> Tensor:
        """Of each token in each state, less :data:`NEVER` [V, states]."""
        found = torch.zeros(self.size, len(STATES))
        for index, following in enumerate(AFTER.values()):
            for word, logit in following.items():
                found[list(self.ids(word)), index] = logit - NEVER
        return found

    def readout(self, themes: Collection[Theme]) -> Tensor:
        """What a unit of an axis adds to each token's logit, if it bears on these themes [V, 1]."""
        found = torch.zeros(self.size, 1)
        for theme in themes:
            for word, weight in READ[theme].items():
                for token, valence in self.ids(word).items():
                    found[token] = weight * valence
        return found


def _spaced(item: tuple[str, int]) -> tuple[bool, str]:
    return not item[0].startswith(" "), item[0]
