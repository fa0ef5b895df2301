"""Search episodes for the head that matters most, in one way or another, and count what it costs in forward passes.

A searcher sees what its own search brought and chooses the next heads from it and from random numbers that belong to
the episode. So an episode is searched in the same way whatever else is searched beside it, and two searchers can be
compared on the same episodes with the same luck.

In every step it *asks* for the scores of one or more heads and *tries* the best of them. What was asked once costs
nothing again. The best score of an episode is that of the heads tried, as in Khadka (2026, arXiv 2605.26343). Since the
best head asked for is always tried, it is that of all heads asked for, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from envs.head_ablation import HeadScores

BASELINE_PASSES = 2
"""Forward passes that tell what an unedited model does: on the task's prompts and on the control text."""
PASSES_A_HEAD = 2
"""And as many with the head ablated."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a searcher knows of n episodes of a model with H heads, all in the same step."""

    tried: NDArray[np.bool_]
    """Which heads were tried [n, H]."""
    scores: NDArray[np.float64]
    """Their scores; 0 where not tried [n, H]."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a searcher wants to know next."""

    heads: NDArray[np.int64]
    """Heads to ask for, distinct and untried [n, k]."""
    probabilities: NDArray[np.float64] | None = None
    """How likely each was to be drawn first [n, k]; None if the searcher's choices have no such probability."""


class Searcher(Protocol):
    """A way to search."""

    @property
    def overhead(self) -> int:
        """Forward passes, or what costs as much, that it spends on an episode before its search begins."""

    def propose(self, seen: Seen, chances: Sequence[np.random.Generator]) -> Proposal:
        """The next heads for each episode.

        Args:
            seen: at least one head of each episode is untried.
            chances: a generator for each episode; nothing else decides at random.
        """


@dataclass(frozen=True, eq=False)
class Found:
    """One episode's search over T steps."""

    heads: NDArray[np.int64]
    """Tried in each step [T]."""
    scores: NDArray[np.float64]
    """Of those heads [T]."""
    passes: NDArray[np.int64]
    """Forward passes spent by the end of each step [T]: overhead, two baselines, two for each head asked for."""
    probabilities: NDArray[np.float64] | None
    """How likely the head tried was to be drawn first, in each step [T]."""
    rises: tuple[tuple[int, float], ...]
    """Whenever the best score known rose: forward passes spent until then, and that score. Unlike the steps this tells
    apart the heads asked for in one step."""

    @property
    def best_scores(self) -> NDArray[np.float64]:
        """The best score by the end of each step [T]."""
        return np.maximum.accumulate(self.scores)

    @property
    def best_score(self) -> float:
        """The best score of all."""
        return float(self.scores.max())

    @property
    def best_head(self) -> int:
        """The head with the best score; of equal ones that which was tried first."""
        return int(self.heads[self.scores.argmax()])

    @property
    def forward_passes(self) -> int:
        """Spent by the end."""
        return int(self.passes[-1])


@dataclass
class Tally:
    """Counts forward passes."""

    forward_passes: int = 0


class Asked:
    """The scores of one episode, each computed when it is asked for first, and what that costs.

    Fulfils :class:`~envs.head_ablation.HeadScores`.

    Attributes:
        rises: whenever the best score known rose, forward passes spent on the episode until then, and that score.

    Args:
        scores: of the episode.
        tally: counts what is spent: two forward passes a head, and two for the baselines with the first.
    """

    def __init__(self, scores: HeadScores, tally: Tally) -> None:
        self.n_blocks, self.n_heads = scores.n_blocks, scores.n_heads
        self.rises: list[tuple[int, float]] = []
        self._scores, self._tally = scores, tally
        self._known: dict[int, float] = {}

    def score(self, heads: Sequence[int]) -> NDArray[np.float64]:
        """Scores of heads [len]."""
        new = [head for head in dict.fromkeys(heads) if head not in self._known]
        if new:
            self._tally.forward_passes += PASSES_A_HEAD * len(new) + (0 if self._known else BASELINE_PASSES)
            for head, score in zip(new, self._scores.score(new).tolist(), strict=True):
                self._known[head] = score
                if not self.rises or score > self.rises[-1][1]:
                    self.rises.append((BASELINE_PASSES + PASSES_A_HEAD * len(self._known), score))
        return np.array([self._known[head] for head in heads], dtype=np.float64)


def search(
    searcher: Searcher, episodes: Sequence[HeadScores], steps: int, seeds: Sequence[int | Sequence[int]]
) -> list[Found]:
    """Search episodes of one model, side by side.

    Args:
        searcher: chooses.
        episodes: what ablations do in each.
        steps: heads to try in each.
        seeds: one an episode, of all that happens by chance in it.

    Raises:
        ValueError: no episode, another number of seeds, no step or more steps than heads, episodes of different models,
            or a searcher that asks for a head which was tried before.
    """
    if not episodes or len(seeds) != len(episodes):
        raise ValueError(f"there must be a seed for each episode, and one at least; these are {len(episodes)}")
    shapes = {(episode.n_blocks, episode.n_heads) for episode in episodes}
    if len(shapes) != 1:
        raise ValueError("the episodes must be of one model")
    n, n_heads = len(episodes), episodes[0].n_blocks * episodes[0].n_heads
    if not 1 <= steps <= n_heads:
        raise ValueError(f"steps must be from 1 to {n_heads}, the heads of the model")
    chances = [np.random.default_rng(seed) for seed in seeds]
    tallies = [Tally() for _ in episodes]
    asked = [Asked(episode, tally) for episode, tally in zip(episodes, tallies, strict=True)]
    seen = Seen(np.zeros((n, n_heads), dtype=bool), np.zeros((n, n_heads)))
    heads, passes = np.zeros((n, steps), dtype=np.int64), np.zeros((n, steps), dtype=np.int64)
    scores, probabilities = np.zeros((n, steps)), np.zeros((n, steps))
    told = True
    for step in range(steps):
        proposal = searcher.propose(seen, chances)
        told = told and proposal.probabilities is not None
        for i, candidates in enumerate(proposal.heads):
            if seen.tried[i, candidates].any():
                raise ValueError("a searcher asked for a head that was tried before")
            answers = asked[i].score(candidates.tolist())
            best = int(answers.argmax())  # of equal ones the first
            heads[i, step], scores[i, step] = candidates[best], answers[best]
            passes[i, step] = searcher.overhead + tallies[i].forward_passes
            if proposal.probabilities is not None:
                probabilities[i, step] = proposal.probabilities[i, best]
            seen.tried[i, candidates[best]], seen.scores[i, candidates[best]] = True, answers[best]
    return [
        Found(
            heads[i],
            scores[i],
            passes[i],
            probabilities[i] if told else None,
            tuple((searcher.overhead + spent, score) for spent, score in asked[i].rises),
        )
        for i in range(n)
    ]
