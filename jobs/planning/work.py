"""Forward passes of a study and the floating-point operations of its parts. A multiplication and addition are two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.inference.shapes import ModelShape
from jobs.planning.texts import Texts
from sae.config import SAEConfig


@dataclass(frozen=True)
class Pass:
    """One forward pass of a batch, padding included."""

    rows: int
    """Texts side by side B."""
    new: int
    """Tokens of each row that are read now."""
    seen: int
    """Tokens of each row in the cache."""
    captured: int
    """Positions of each row that are captured."""
    predicted: int
    """Positions of each row whose next token is predicted."""
    last: int | None = None
    """The block after which the model is left; all are run if None."""

    @property
    def tokens(self) -> int:
        """Tokens that go through the blocks."""
        return self.rows * self.new

    @property
    def pairs(self) -> int:
        """Pairs of a token and one that it sees."""
        return self.rows * (self.new * self.seen + self.new * (self.new + 1) // 2)


Passes = list[tuple[Pass, int]]
"""Forward passes, and how often each occurs."""


def play_passes(texts: Texts, rollouts: int, batch_size: int) -> Passes:
    """The passes in which a model plays, one a decision and batch, and how often each occurs."""
    counted: Counter[Pass] = Counter()
    for rows in _batches(rollouts, batch_size):
        seen = 0
        for new in texts.padded:
            counted[Pass(rows, new, seen, captured=1, predicted=1)] += 1
            seen += new
    return list(counted.items())


def read_passes(texts: Texts, rollouts: int, batch_size: int, *, captured: bool = False) -> Passes:
    """The passes in which a model reads whole texts and predicts, or is captured too, at each decision."""
    n = texts.n_decisions
    counted = Counter(Pass(rows, texts.longest, 0, n * captured, n) for rows in _batches(rollouts, batch_size))
    return list(counted.items())


def capture_passes(texts: Texts, rollouts: int, batch_size: int, last: int) -> Passes:
    """The passes in which a model reads whole texts up to block ``last``, is captured, and predicts nothing."""
    n = texts.n_decisions
    counted = Counter(Pass(rows, texts.longest, 0, n, 0, last) for rows in _batches(rollouts, batch_size))
    return list(counted.items())


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a model's parts."""

    blocks: float
    """Matrices of the decoder blocks."""
    attention: float
    """Scores of attention, and sums of values."""
    head: float
    """LM head."""

    @property
    def total(self) -> float:
        return self.blocks + self.attention + self.head

    @classmethod
    def of(cls, shape: ModelShape, tokens: float, pairs: float, predicted: float, last: int | None = None) -> Flops:
        """Of a forward pass.

        Args:
            shape: sizes of the model.
            tokens: that go through the blocks.
            pairs: of a token and one that it sees.
            predicted: positions whose logits are computed.
            last: the block after which the model is left; all are run if None.
        """
        weights = shape.block_weights[:last]
        per_pair = 4 * len(weights) * shape.n_heads * shape.d_head
        return cls(2 * sum(weights) * tokens, per_pair * pairs, 2 * shape.head * predicted)

    @classmethod
    def of_pass(cls, shape: ModelShape, work: Pass) -> Flops:
        """Of a forward pass of a batch."""
        return cls.of(shape, work.tokens, work.pairs, work.rows * work.predicted, work.last)

    @classmethod
    def of_passes(cls, shape: ModelShape, passes: Passes) -> Flops:
        """Of forward passes and how often each occurs."""
        found = [(cls.of_pass(shape, work), count) for work, count in passes]
        return cls(
            sum(flops.blocks * n for flops, n in found),
            sum(flops.attention * n for flops, n in found),
            sum(flops.head * n for flops, n in found),
        )


def sae_parameters(config: SAEConfig) -> int:
    """Weights and biases of an autoencoder."""
    return 2 * config.d_in * config.d_latents + config.d_in + config.d_latents


def sae_step_flops(config: SAEConfig, batch_size: int) -> float:
    """A training step: two products forward, and backward those of both matrices and of the latents."""
    # topk's bias in front of the encoder needs the gradient of the data too
    products = 6 if config.architecture == "topk" else 5
    return 2.0 * products * config.d_in * config.d_latents * batch_size


def sae_pass_flops(config: SAEConfig, rows: int) -> float:
    """Encoding ``rows`` of activations; decoding costs the same."""
    return 2.0 * config.d_in * config.d_latents * rows


def _batches(rollouts: int, batch_size: int) -> Iterator[int]:
    for first in range(0, rollouts, batch_size):
        yield min(batch_size, rollouts - first)
