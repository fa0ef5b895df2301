"""How long a task's texts are in tokens, measured on rollouts of a player who chooses at random."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import Task
from envs.transcript import Transcript
from jobs.inference.tokens import TextTokenizer

SAMPLE = 16
"""Rollouts of each variant that are told to be measured."""
WORDS = re.compile(r" ?[^\W\d]+| ?\d{1,3}| ?[^\w\s]+|\s")
"""Pieces that a byte-level tokenizer with a large vocabulary mostly keeps whole: short words, numbers, marks."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Tokens that the model reads before each decision of some rollouts."""

    chunks: NDArray[np.int64]
    """New tokens up to and including each decision's, [rollouts, decisions]."""
    measured: bool
    """Counted with the model's own tokenizer; otherwise estimated from words."""

    @property
    def n_decisions(self) -> int:
        """Decisions in a rollout."""
        return int(self.chunks.shape[1])

    @cached_property
    def tokens(self) -> float:
        """Tokens of a rollout, on average."""
        return float(self.chunks.sum(1).mean())

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest rollout."""
        return int(self.chunks.sum(1).max())

    @cached_property
    def padded(self) -> list[int]:
        """Tokens before each decision when rollouts are played side by side: those of the longest."""
        return [int(n) for n in self.chunks.max(0)]


def measure(
    task: Task, settings: Mapping[str, Any], variants: Sequence[str], seed: int, tokenizer: Any | None
) -> Texts:
    """Tell some rollouts of each variant and count their tokens.

    Args:
        task: the registered task.
        settings: the task's own.
        variants: versions of the task.
        seed: of the task instances and the random choices.
        tokenizer: the model's; None to estimate from words.

    Raises:
        UserError: a tokenizer that merges a decision word with what follows.
    """
    told = [_told(task, settings, variant, seed + index) for variant in variants for index in range(SAMPLE)]
    if tokenizer is None:
        ends = [[span.end for span in transcript.decisions] for transcript in told]
        rows = [
            [len(WORDS.findall(transcript.text[a:b])) for a, b in zip([0, *places], places, strict=False)]
            for transcript, places in zip(told, ends, strict=True)
        ]
        chunks = np.array(rows)
        chunks[:, 0] += 1  # the token in front of the text
        return Texts(chunks, measured=False)
    _, positions = TextTokenizer(tokenizer).decisions(told)
    return Texts(np.diff(np.array(positions), axis=1, prepend=-1), measured=True)


def _told(task: Task, settings: Mapping[str, Any], variant: str, seed: int) -> Transcript:
    game = task.rollout(task.config(variant=variant, **settings), seed)
    generator = np.random.default_rng(seed)
    while not game.done:
        forced = game.forced_action
        game.observe()
        game.act(int(generator.integers(len(game.actions))) if forced is None else forced)
    return game.transcript()
