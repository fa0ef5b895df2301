"""A language model that is asked something while vectors are added to its residual stream.

A vector is added at the output of one block, at every token of the conversation that isn't the user's and at every
token that is generated (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, D.3). Generation is a closed loop with the
key-value cache, so that the keys and values of steered tokens are those of the steered stream. Each conversation of a
batch has a vector of its own: the doses of a curve are computed side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs.inference.base import Edit, Engine, TokenBatch
from jobs.inference.edits import SteerEdit
from jobs.welfare.chat import Chat, Conversation

Luck = tuple[int, ...]
"""Seeds the random numbers of one reply; (seed, item, sample), so that an item has the same luck under every vector."""
SHRINK = 0.75
"""Rows that have ended are dropped from a batch as soon as no more than this share of it goes on."""


@dataclass(frozen=True)
class Steering:
    """What is added to the stream."""

    block: int
    """Where: an index into ``hidden_states``."""
    vectors: Tensor
    """What each conversation gets [n, d]; zeros change nothing, to the bit."""


class Speaker:
    """A model that replies, steered or not.

    Args:
        engine: runs the model in this process.
        batch_size: conversations that it reads at a time.
        advance: told how many conversations are done, each time some are.
    """

    def __init__(self, engine: Engine, batch_size: int, advance: Callable[[float], None] = lambda n: None) -> None:
        self.engine = engine
        self.chat = Chat(engine.tokenizer)
        self.batch_size = batch_size
        self.advance = advance

    def probabilities(
        self,
        conversations: Sequence[Conversation],
        tokens: Sequence[Sequence[int]],
        steering: Steering | None = None,
    ) -> NDArray[np.float64]:
        """How likely each of some sets of tokens comes next [n, sets], among all tokens of the vocabulary."""
        found = np.empty((len(conversations), len(tokens)))
        for rows in self._batches(conversations):
            logits, _ = self._begun(conversations, rows, steering)
            spread = logits.softmax(dim=-1)
            for index, chosen in enumerate(tokens):
                found[rows, index] = spread[:, list(chosen)].double().sum(dim=-1).cpu().numpy()
            self.advance(len(rows))
        return found

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        max_tokens: int,
        luck: Sequence[Luck] | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        steering: Steering | None = None,
    ) -> list[str]:
        """A reply to each conversation, up to the token that ends it.

        Args:
            conversations: ending where the model is to speak.
            max_tokens: of a reply.
            luck: of each reply; the likeliest token always (greedy) if None.
            temperature: by which logits are divided.
            top_p: tokens are drawn among the fewest that have this probability together.
            steering: what is added.

        Raises:
            UserError: a conversation and its reply are longer than the model's context.
        """
        replies: list[str] = [""] * len(conversations)
        for rows in self._batches(conversations):
            draws = None if luck is None else _draws([luck[row] for row in rows], max_tokens)
            said = self._continued(conversations, rows, max_tokens, draws, temperature, top_p, steering)
            for row, ids in zip(rows, said, strict=True):
                replies[row] = self.chat.text(ids)
            self.advance(len(rows))
        return replies

    def residuals(self, conversations: Sequence[Conversation], block: int) -> Tensor:
        """The stream at the last token of each conversation, unsteered [n, d], float32 on the CPU."""
        found = torch.empty(len(conversations), self.engine.d_model)
        for rows in self._batches(conversations):
            batch = TokenBatch.from_rows([conversations[row].ids for row in rows], self.chat.pad_id, side="right")
            last = batch.mask.sum(dim=1, keepdim=True) - 1
            run = self.engine.forward(batch, positions=last, capture=[block], logits=False)
            found[rows] = run.activations[block][:, 0].float().cpu()
        return found

    def _batches(self, conversations: Sequence[Conversation]) -> Iterator[list[int]]:
        """Indices of conversations of similar length."""
        order = sorted(range(len(conversations)), key=lambda row: (-len(conversations[row].ids), row))
        for first in range(0, len(order), self.batch_size):
            yield order[first : first + self.batch_size]

    def _begun(
        self, conversations: Sequence[Conversation], rows: Sequence[int], steering: Steering | None
    ) -> tuple[Tensor, Any]:
        """Logits of what comes next [n, V], float32, and the cache of what was read.

        The last tokens are read apart from what is before them: so the LM head sees nothing but them, though the
        stream is edited elsewhere too.
        """
        read = [conversations[row] for row in rows]
        vectors = None if steering is None else steering.vectors[list(rows)]
        cache = self.engine.new_cache()
        batch = TokenBatch.from_rows([one.ids[:-1] for one in read], self.chat.pad_id, side="right")
        edits: list[Edit] = []
        positions = torch.zeros(len(rows), 1, dtype=torch.int64)
        if steering is not None and vectors is not None:
            own = [[index for index in one.own if index < len(one.ids) - 1] for one in read]
            most = max(1, *map(len, own))
            # a position that is named again gets the same stream again; without any, the first token gets nothing
            positions = torch.tensor([places + (places[-1:] or [0]) * (most - len(places)) for places in own])
            some = torch.tensor([bool(places) for places in own], device=vectors.device)
            edits.append(SteerEdit(steering.block, (vectors * some[:, None])[:, None]))
        self.engine.forward(batch, positions=positions, edits=edits, cache=cache, logits=False)
        return self._next([one.ids[-1] for one in read], cache, steering, vectors), cache

    def _next(self, ids: Sequence[int], cache: Any, steering: Steering | None, vectors: Tensor | None) -> Tensor:
        """Logits behind one more token of each row [n, V], float32."""
        edits: list[Edit] = []
        if steering is not None and vectors is not None:
            edits.append(SteerEdit(steering.block, vectors[:, None]))
        batch = TokenBatch.from_rows([[token] for token in ids], self.chat.pad_id)
        logits = self.engine.forward(
            batch, positions=torch.zeros(len(ids), 1, dtype=torch.int64), edits=edits, cache=cache
        ).logits
        assert logits is not None
        return logits[:, 0].float()

    def _continued(
        self,
        conversations: Sequence[Conversation],
        rows: Sequence[int],
        max_tokens: int,
        draws: Tensor | None,
        temperature: float,
        top_p: float,
        steering: Steering | None,
    ) -> list[list[int]]:
        """The tokens of each reply, without the one that ends it."""
        said: list[list[int]] = [[] for _ in rows]
        logits, cache = self._begun(conversations, rows, steering)
        vectors = None if steering is None else steering.vectors[list(rows)]
        alive = list(range(len(rows)))  # rows of the cache, those that have ended among them until it shrinks
        ended: set[int] = set()
        for step in range(max_tokens):
            if draws is None:
                chosen = logits.argmax(dim=-1)
            else:
                chosen = drawn(logits / temperature, top_p, draws[alive, step].to(logits.device))
            ids = chosen.tolist()
            for row, token in zip(alive, ids, strict=True):
                if token in self.chat.stops:
                    ended.add(row)
                elif row not in ended:
                    said[row].append(token)
            kept = [index for index, row in enumerate(alive) if row not in ended]
            if not kept or step == max_tokens - 1:
                break
            if len(kept) <= SHRINK * len(alive):
                cache.select(torch.tensor(kept, device=self.engine.device))
                vectors = None if vectors is None else vectors[kept]
                alive, ids = [alive[index] for index in kept], [ids[index] for index in kept]
            logits = self._next(ids, cache, steering, vectors)
        return said


def drawn(logits: Tensor, top_p: float, luck: Tensor) -> Tensor:
    """Tokens drawn from logits [n, V], each by its own number between 0 and 1 [n] (nucleus sampling).

    Tokens are ordered by their probability, and the number says how far one goes in their cumulative sum: the same
    number draws the same token from slightly different logits, mostly.
    """
    p, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    before = p.cumsum(dim=-1) - p
    p = p.where(before < top_p, 0.0)
    reached = p.cumsum(dim=-1)
    place = (reached <= luck[:, None] * reached[:, -1:]).sum(dim=-1)
    last = (p > 0).sum(dim=-1) - 1
    return order.gather(-1, place.minimum(last)[:, None])[:, 0]


def _draws(luck: Sequence[Luck], n: int) -> Tensor:
    """Numbers between 0 and 1 of each reply [replies, n]."""
    return torch.tensor(np.stack([np.random.default_rng(each).random(n) for each in luck]), dtype=torch.float32)
