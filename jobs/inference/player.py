"""How a model plays or reads one batch of rollouts: tokens in, choices out, captured blocks handed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.game import Game
from envs.transcript import Transcript
from jobs.inference.base import Edit, Engine, Forward, HeadEdit, TokenBatch
from jobs.inference.edits import WithinEdit
from jobs.inference.offload import Offload
from jobs.inference.tokens import TextTokenizer
from tdlens.errors import UserError

Progress = Callable[[int], None]
"""Told how many more decisions have been made."""
Take = Callable[[dict[int, Tensor]], None]
"""Given the captured blocks of each batch, in the order of the rollouts: the residual stream at the decision tokens,
after edits, as block to [b, T, d] on the CPU in the model's dtype. The tensors are the taker's."""


@dataclass(frozen=True)
class Played:
    """R rollouts of T decisions each, as the model chose."""

    actions: NDArray[np.int64]
    """Index of the action taken [R, T]."""
    probabilities: NDArray[np.float64]
    """The model's probability of each action, among the actions alone [R, T, A], forced or not."""
    token_positions: NDArray[np.int64]
    """Index of each decision token in the whole text's tokens, special tokens included [R, T]."""
    transcripts: list[Transcript]
    """Text of each rollout."""


@dataclass(frozen=True)
class Player:
    """A model with what it is to return and undergo, the same for every batch."""

    engine: Engine
    capture: Sequence[int]
    take: Take | None
    edits: Sequence[Edit]
    temperature: float
    progress: Progress | None
    edited: range | None = None

    def __post_init__(self) -> None:
        if self.capture and self.take is None:
            raise ValueError("blocks are captured, and nobody takes them")

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        return TextTokenizer(self.engine.tokenizer)

    @cached_property
    def reading_edits(self) -> Sequence[Edit]:
        """The edits of passes in which the positions are all decisions of a text."""
        return self.edits if self.edited is None else [_within(edit, self.edited) for edit in self.edits]

    @cached_property
    def offload(self) -> Offload:
        return Offload.of(self.engine.device)

    def play(self, games: Sequence[Game], generators: Sequence[np.random.Generator]) -> Played:
        """Play a batch of games to their end, in lockstep; choices are drawn by the generators, one a game."""
        cache = self.engine.new_cache()
        texts = [""] * len(games)
        rows: list[list[int]] = [[] for _ in games]
        action_ids: list[list[int]] = []
        chosen: list[int] = []
        actions: list[list[int]] = []
        probabilities, token_positions = [], []
        captured = self._room(len(games), games[0].n_decisions) if self.capture else {}
        while not _finished(games):
            pieces = [game.observe() for game in games]
            chunks = [self.tokenizer.extend(text, piece) for text, piece in zip(texts, pieces, strict=True)]
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
            if not action_ids:
                action_ids = self._action_ids(texts, games)
            else:
                _check_acted(chunks, action_ids, chosen, games)
            for row, chunk in zip(rows, chunks, strict=True):
                row.extend(chunk)

            # padded on the right every slot has a token to attend to, so no row of the attention is empty
            tokens = TokenBatch.from_rows(chunks, self.tokenizer.pad_id, side="right")
            result = self.engine.forward(
                tokens,
                positions=torch.tensor([[len(chunk) - 1] for chunk in chunks]),
                capture=self.capture,
                edits=self.edits if self.edited is None or len(actions) in self.edited else (),
                cache=cache,
                choices=torch.tensor(action_ids),
            )
            for block, x in result.activations.items():
                self.offload.copy(x[:, 0], captured[block][:, len(actions)])
            choice = self._probabilities(result)[:, 0]
            chosen = [
                _choose(game.forced_action, p, generator.random())
                for game, p, generator in zip(games, choice, generators, strict=True)
            ]
            for game, action in zip(games, chosen, strict=True):
                game.act(action)

            actions.append(chosen)
            probabilities.append(choice)
            token_positions.append([len(row) - 1 for row in rows])
            if self.progress is not None:
                self.progress(len(games))
        transcripts = [game.transcript() for game in games]
        self.tokenizer.verify([transcript.text for transcript in transcripts], rows)
        self._hand_over(captured)
        return Played(
            actions=np.array(actions, dtype=np.int64).T,
            probabilities=np.stack(probabilities, axis=1),
            token_positions=np.array(token_positions, dtype=np.int64).T,
            transcripts=transcripts,
        )

    def decisions(self, transcripts: Sequence[Transcript]) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of the texts, and where in them the decisions are."""
        rows, positions = self.tokenizer.decisions(transcripts)
        if len({len(places) for places in positions}) > 1:
            raise ValueError("the transcripts differ in their number of decisions")
        return rows, positions

    def ids_of(
        self, transcripts: Sequence[Transcript], actions: Sequence[str] | Sequence[Sequence[str]]
    ) -> list[list[int]]:
        """The token of each action in each text."""
        heads = [transcript.text[: transcript.decisions[0].end] for transcript in transcripts]
        if isinstance(actions[0], str):
            return [self.tokenizer.action_ids(heads[0], cast(Sequence[str], actions))] * len(heads)
        return [self.tokenizer.action_ids(head, own) for head, own in zip(heads, actions, strict=True)]

    def replay(self, transcripts: Sequence[Transcript], action_ids: list[list[int]]) -> Played:
        """Read a batch of texts and predict at each decision, among the tokens of each text's actions."""
        rows, positions = self.decisions(transcripts)
        actions = [
            [_action_taken(row, place, ids) for place in places]
            for row, places, ids in zip(rows, positions, action_ids, strict=True)
        ]
        result = self.read(rows, positions, action_ids)
        return Played(
            actions=np.array(actions, dtype=np.int64),
            probabilities=self._probabilities(result),
            token_positions=np.array(positions, dtype=np.int64),
            transcripts=list(transcripts),
        )

    def read(
        self, rows: list[list[int]], positions: list[list[int]], choices: list[list[int]] | None = None
    ) -> Forward:
        """Run the model on whole texts and hand over what is captured; logits of the ``choices``, if there are any."""
        # what follows the last decision can't reach back to it
        read = [row[: places[-1] + 1] for row, places in zip(rows, positions, strict=True)]
        captured = self._room(len(rows), len(positions[0])) if self.capture else {}
        result = self.engine.forward(
            TokenBatch.from_rows(read, self.tokenizer.pad_id, side="right"),
            positions=torch.tensor(positions),
            capture=self.capture,
            edits=self.reading_edits,
            logits=choices is not None,
            choices=None if choices is None else torch.tensor(choices),
            deliver=lambda block, x: self.offload.copy(x, captured[block]),
        )
        self._hand_over(captured)
        if self.progress is not None:
            self.progress(sum(map(len, positions)))
        return result

    def _room(self, rollouts: int, decisions: int) -> dict[int, Tensor]:
        """Memory for the activations of a batch: a single piece, which goes back to the system as a whole."""
        room = torch.empty(len(self.capture), rollouts, decisions, self.engine.d_model, dtype=self.engine.dtype)
        return dict(zip(self.capture, room, strict=True))

    def _hand_over(self, captured: dict[int, Tensor]) -> None:
        if self.take is not None and captured:
            self.offload.finish()
            self.take(captured)

    def _action_ids(self, texts: Sequence[str], games: Sequence[Game]) -> list[list[int]]:
        known = {
            (text, actions): self.tokenizer.action_ids(text, actions)
            for text, actions in {(text, game.actions) for text, game in zip(texts, games, strict=True)}
        }
        return [known[text, game.actions] for text, game in zip(texts, games, strict=True)]

    def _probabilities(self, forward: Forward) -> NDArray[np.float64]:
        """Softmax over the actions, the chosen tokens: [B, P, A]."""
        assert forward.logits is not None
        chances = (forward.logits.float() / self.temperature).softmax(dim=-1)
        return chances.cpu().numpy().astype(np.float64)


def _finished(games: Sequence[Game]) -> bool:
    done = {game.done for game in games}
    if len(done) > 1:
        raise ValueError("the games differ in their number of decisions")
    return done != {False}


def _within(edit: Edit, decisions: range) -> WithinEdit:
    if isinstance(edit, HeadEdit):
        raise ValueError("heads are edited at every decision, not at some")
    return WithinEdit(edit, decisions)


def _check_acted(
    chunks: Sequence[Sequence[int]],
    action_ids: Sequence[Sequence[int]],
    chosen: Sequence[int],
    games: Sequence[Game],
) -> None:
    for chunk, ids, action, game in zip(chunks, action_ids, chosen, games, strict=True):
        if chunk[0] != ids[action]:
            raise UserError(
                f"Action {game.actions[action]!r} becomes another token when more text follows it.",
                "Name the actions by words that are single tokens of this model, or use another model.",
            )


def _choose(forced: int | None, probabilities: NDArray[np.float64], uniform: float) -> int:
    if forced is not None:
        return forced
    below = np.searchsorted(probabilities.cumsum(), uniform, side="right")
    return min(int(below), len(probabilities) - 1)


def _action_taken(row: Sequence[int], place: int, action_ids: Sequence[int]) -> int:
    follows = row[place + 1 : place + 2]
    if not follows or follows[0] not in action_ids:
        raise ValueError(f"the decision at token {place} of a transcript isn't followed by one of the actions")
    return action_ids.index(follows[0])
