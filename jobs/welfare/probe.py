"""A probe of valence: how pleasant a text is, as the maze-naive and unsteered model reads it.

A logistic regression on the residual stream at a text's last token, two thirds up the model, learned on sentences of
pleasant and unpleasant feelings. Words are held out, not sentences: what it tells of words that it hasn't seen is its
accuracy. It judges what a steered model wrote, and isn't itself steered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from jobs.welfare.emotions import VALENCE
from jobs.welfare.speaker import Speaker

VERSION = 1
"""Of the sentences and the regression."""
CLEAR = 0.3
"""Least valence, on either side, of the words that it is learned on."""
SENTENCES = ("I feel {}.", "Right now I feel {}.", "I am {}.", "It makes me feel {}.")
FOLDS = 5
PENALTY = 0.05
"""The inverse of L2's weight: few sentences in many dimensions."""


@dataclass(frozen=True)
class ValenceProbe:
    """Learned, ready to judge texts."""

    speaker: Speaker
    """The naive model's."""
    block: int
    accuracy: float
    """On words held out, mean over folds."""
    n: int
    """Words."""
    _regression: Pipeline

    def valence(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability that each text is a pleasant one, as a number from -1 to 1; NaN of an empty text."""
        found = np.full(len(texts), np.nan)
        some = [index for index, text in enumerate(texts) if text]
        if some:
            p = self._regression.predict_proba(_read(self.speaker, [texts[index] for index in some], self.block))
            found[some] = 2 * p[:, 1] - 1
        return found


def learn_probe(speaker: Speaker, words: Sequence[str], seed: int) -> ValenceProbe:
    """The probe of a model.

    Args:
        speaker: the naive model's.
        words: emotion words that the model knows.
        seed: of the folds.
    """
    clear = [word for word in words if abs(VALENCE[word]) >= CLEAR]
    pleasant = np.array([VALENCE[word] > 0 for word in clear])
    block = (2 * speaker.engine.n_blocks) // 3
    texts = [sentence.format(word) for word in clear for sentence in SENTENCES]
    x, of_word = _read(speaker, texts, block), np.repeat(np.arange(len(clear)), len(SENTENCES))
    fold = np.empty(len(clear), np.int64)
    for side in (True, False):
        (own,) = np.nonzero(pleasant == side)
        fold[np.random.default_rng((seed, int(side))).permutation(own)] = np.arange(len(own)) % FOLDS
    right = np.zeros(len(of_word), bool)
    y = pleasant[of_word]
    for held_out in range(FOLDS):
        test = fold[of_word] == held_out
        right[test] = _regression().fit(x[~test], y[~test]).predict(x[test]) == y[test]
    # both sides count alike, however many words each has
    accuracy = float(np.mean([right[y == side].mean() for side in (True, False)]))
    return ValenceProbe(speaker, block, accuracy, len(clear), _regression().fit(x, y))


def _regression() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=1000))


def _read(speaker: Speaker, texts: Sequence[str], block: int) -> NDArray[np.float64]:
    conversations = [speaker.chat.plain(text) for text in texts]
    return speaker.residuals(conversations, block).double().numpy()
